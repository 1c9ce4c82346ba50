"""What explain and a reviewer's view say of a statement's lineage."""

from __future__ import annotations

from twokey.type.v1 import operation_pb2

from decision.showing import lineage, render

EMAIL = {"schema": "public", "relation": "customers", "column": "email"}


def sql() -> operation_pb2.SqlOperation:
    made = operation_pb2.SqlOperation()
    one = made.output.add(name="email")
    one.sources.add(**EMAIL, through="copy")
    two = made.output.add(name="x")
    two.sources.add(**EMAIL, through="safe")
    two.sources.add(schema="public", relation="customers", column="id", through="tells", function="pg_catalog./")
    made.output.add(name="one")
    made.inferences.add(**EMAIL, kind="where")
    made.inferences.add(**EMAIL, kind="where")
    made.inferences.add(**EMAIL, kind="expression", function="pg_catalog.ascii")
    flow = made.flows.add(kind="insert", through="copy", temporary=True)
    flow.source.schema, flow.source.relation, flow.source.column = "public", "customers", "email"
    flow.target.schema, flow.target.relation, flow.target.column = "pg_temp_3", "mine", "e"
    return made


def test_each_list_has_its_lines() -> None:
    assert lineage.lines(sql()) == [
        "result     1 email: a copy of public.customers.email",
        "result     2 x: computed from public.customers.email;"
        " computed, by what can tell, from public.customers.id (pg_catalog./)",
        "result     3 one: depends on no stored column",
        "decides    public.customers.email: where, expression (pg_catalog.ascii)",
        "stores     public.customers.email in pg_temp_3.mine.e (insert, ends with the session)",
    ]
    assert set(lineage.lines(sql())) <= set(render.touches(sql()))


def test_an_unknown_way_is_said_as_it_is() -> None:
    made = operation_pb2.SqlOperation()
    made.output.add(name="x").sources.add(**EMAIL, through="new")
    assert lineage.lines(made) == ["result     1 x: computed (new) from public.customers.email"]


def test_long_lists_are_cut_and_counted() -> None:
    made = operation_pb2.SqlOperation()
    for number in range(lineage.MAX_LINES + 7):
        made.output.add(name=f"c{number}")
    said = lineage.lines(made)
    assert len(said) == lineage.MAX_LINES + 1
    assert said[-1] == "result     and 7 more"


def test_names_obey_no_terminal() -> None:
    made = operation_pb2.SqlOperation()
    made.output.add(name="x\x1b[2J").sources.add(schema="s", relation="\x1b]0;", column="c", through="copy")
    assert "\x1b" not in "".join(lineage.lines(made))
