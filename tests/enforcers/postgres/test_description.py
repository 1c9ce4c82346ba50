"""A description of another text of the same shape differs in its text alone."""

from __future__ import annotations

import dataclasses

from twokey.type.v1 import operation_pb2

from enforcers.postgres.description import Control, CopyForm, Description, Verification

# No field has its default, or the value of another: what with_text forgets, or takes from elsewhere, shows.
FULL = Description(
    text=b"SELECT 1",
    template=operation_pb2.SqlOperation(command="SELECT", opaque=True),
    shape_digest=b"shape",
    static_digest=b"static",
    control=Control.BEGIN,
    parameters=3,
    writes_or_locks=True,
    changes_names=True,
    ddl=True,
    makes_temporary=True,
    copy_in=True,
    copy_out=True,
    utility=True,
    single_transaction=True,
    can_estimate=True,
    cannot_estimate_why="why",
    verification=Verification(sql="SELECT", expected=("1",)),
    cursor="cursor",
    prepared="prepared",
    wire=((1, 2),),
    others=frozenset({(3, 4)}),
    changes_grammar=True,
    known_rows=7,
    collects=True,
    output_open=True,
    copy_header=True,
    own_setting=True,
    cursor_options=8,
    estimated_here=True,
    savepoint="savepoint",
    named=b"named",
    chain=True,
    quotes=True,
    copy_form=CopyForm(
        format="csv",
        delimiter=b";",
        null=b"nil",
        quote=b"'",
        escape=b"|",
        force_quote=frozenset({"name"}),
        force_all=True,
        problem="problem",
    ),
)


def test_every_field_is_tried() -> None:
    for item in dataclasses.fields(Description):
        value = getattr(FULL, item.name)
        assert value != item.default, item.name
        assert value not in (False, 0, "", b"", (), None), item.name


def test_another_text_has_all_else_of_the_first() -> None:
    made = FULL.with_text(b"SELECT 2")
    assert made.text == b"SELECT 2"
    for item in dataclasses.fields(Description):
        if item.name != "text":
            assert getattr(made, item.name) == getattr(FULL, item.name), item.name
    assert dataclasses.replace(made, text=FULL.text) == FULL


def test_opaque_follows_the_template() -> None:
    plain = dataclasses.replace(FULL, template=operation_pb2.SqlOperation(command="SELECT"))
    assert (FULL.opaque, plain.opaque, plain.with_text(b"x").opaque) == (True, False, False)
