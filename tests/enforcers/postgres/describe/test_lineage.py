"""What each construct is described as: sources of every result column, inferences, flows (lineage.txt, lineage_18.txt).

A line is `statement ¦ result columns ¦ inferences ¦ flows`. A result column is its sources joined by `+`, `-` where it
has none: `p.ssn=` a copy, `p.ssn~` computed by what tells nothing, `p.ssn!` by what can tell. Everything there is must
be listed, and nothing else. That it is also *right* is for test_lineage_oracle.py to say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcers.postgres.description import Description
from enforcers.postgres.machine_lineage import executed, fetched
from tests.enforcers.postgres.describe.lineage_world import World, described, newest

DESCRIBE = Path(__file__).parents[4] / "enforcers" / "postgres" / "describe"
KINDS = frozenset(
    ["where", "join", "join-foreign-key", "group", "having", "distinct", "set-operation", "order", "limit", "filter",
     "aggregate", "case", "window", "set-returning", "exists", "on-conflict", "merge", "constraint", "row-security",
     "partition", "expression", "estimate", "unlisted"]
)  # fmt: skip
DOCUMENT = Path(__file__).parents[4] / "docs" / "operation.md"
LINES, NEW = (
    [line.split(" ¦ ") for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()]
    for name in ("lineage.txt", "lineage_18.txt")
)
_WAYS = {"copy": "=", "safe": "~", "tells": "!"}


def printed(description: Description) -> list[str]:
    template = description.template
    outputs = " ".join(
        "+".join(sorted(f"{s.relation}.{s.column}{_WAYS[s.through]}" for s in output.sources)) or "-"
        for output in template.output
    )
    inferences = " ".join(sorted({f"{i.relation}.{i.column}:{i.kind}" for i in template.inferences}))
    flows = " ".join(
        sorted(
            f"{f.source.relation}.{f.source.column}{_WAYS[f.through]}>{f.target.relation}.{f.target.column}:{f.kind}"
            for f in template.flows
        )
    )
    return [outputs or "-", inferences or "-", flows or "-"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0][:70])
def test_lineage(world: World, line: list[str]) -> None:
    description = described(world, line[0])
    assert not description.template.opaque, list(description.template.opaque_reasons)
    assert printed(description) == line[1:]


@pytest.mark.parametrize("line", NEW, ids=lambda line: line[0][:70])
def test_lineage_of_new_syntax(world: World, line: list[str]) -> None:
    """lineage_18.txt: what servers learned after 14; described alike for all that know it."""
    test_lineage(newest(world), line)


@pytest.mark.parametrize(
    ("expression", "gathers"),
    [
        ("array_agg(ssn)", True),
        ("ARRAY(SELECT ssn FROM p)", True),
        ("json_arrayagg(ssn)", True),
        ("json_objectagg(id : ssn)", True),
        ("json_array(SELECT ssn FROM p)", True),
        ("json_array(1, 2)", False),
        ("max(ssn)", False),
    ],
)
def test_what_gathers_rows_into_one_value_says_so(world: World, expression: str, gathers: bool) -> None:
    """What is estimated of such a statement is the rows that are gathered, not the one that comes of them."""
    assert described(newest(world), f"SELECT {expression} FROM p").collects is gathers


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        ("xmlelement(name a, ssn)", "xmlelement"),
        ("json_object('a' : ssn)", "json_object"),
        ("ssn IS JSON", "JsonIsPredicate"),
        ("ascii(ssn)", "pg_catalog.ascii"),
    ],
)
def test_an_inference_names_the_function_that_tells(world: World, expression: str, function: str) -> None:
    """By the name that its author wrote, where it has one: it is what a reader of the denial looks for."""
    template = described(newest(world), f"SELECT {expression} FROM p").template
    assert [item.function for item in template.inferences if item.column == "ssn"] == [function]


def test_the_kinds_of_inference_are_a_closed_list() -> None:
    """Each kind in the code is in docs/operation.md, and each there is in the code."""
    sources = "".join(path.read_text(encoding="utf-8") for path in DESCRIBE.glob("*.py"))
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"`{kind}`" in text, kind
        assert f'"{kind}"' in sources, kind
    seen = {item.split(":")[1] for line in LINES for item in line[2].split() if ":" in item}
    assert seen == KINDS


def test_values_whose_place_is_not_known_are_unlisted(world: World) -> None:
    found = described(world, "SELECT (x).* FROM (SELECT p AS x FROM p) y")
    assert found.output_open
    assert {(i.relation, i.column) for i in found.template.inferences if i.kind == "unlisted"} >= {
        ("p", "ssn"),
        ("p", "salary"),
    }


def test_several_statements_of_one_shape_tell_the_same(world: World) -> None:
    """No constant's value may decide what is told: a shape is described once."""
    for one, other in (
        ("SELECT left(ssn, 1), ssn || 'a', salary > 1 FROM p", "SELECT left(ssn, 9), ssn || 'b', salary > 999 FROM p"),
        ("SELECT ssn LIKE 'a', rate > 1.5 FROM p LIMIT 1", "SELECT ssn LIKE 'a%', rate > 2.75 FROM p LIMIT 99"),
    ):
        first, second = described(world, one), described(world, other)
        assert first.template == second.template


def _told(description: Description) -> set[str]:
    return {f"{item.relation}.{item.column}:{item.kind}" for item in description.template.inferences}


def test_execute_tells_what_was_prepared(world: World) -> None:
    prepared = described(world, "PREPARE q AS SELECT upper(ssn), name FROM p WHERE id = $1")
    found = executed(described(world, "EXECUTE q(1)"), prepared)
    assert not found.template.opaque
    assert printed(found) == ["p.ssn~ p.name=", "p.id:where", "-"]
    estimated = executed(described(world, "EXPLAIN EXECUTE q(1)"), prepared)
    assert _told(estimated) >= {"p.id:where", "p.ssn:estimate", "p.name:estimate"}
    stored = executed(described(world, "CREATE TABLE made AS EXECUTE q(1)"), prepared)
    assert {(flow.source.column, flow.target.column) for flow in stored.template.flows} == {("ssn", ""), ("name", "")}


def test_fetch_tells_what_the_cursor_reads(world: World) -> None:
    one = described(world, "DECLARE c CURSOR FOR SELECT ssn FROM p ORDER BY salary")
    other = described(world, "DECLARE c CURSOR FOR SELECT title FROM d")
    fetch = described(world, "FETCH 3 FROM c")
    assert printed(fetched(fetch, (one,))) == ["p.ssn=", "p.salary:order", "-"]
    assert _told(fetched(fetch, (one, other))) == {"p.salary:order", "p.ssn:unlisted", "d.title:unlisted"}
    assert _told(fetched(described(world, "MOVE 3 IN c"), (one,))) == {"p.salary:order"}


def test_what_a_role_owns_it_could_have_arranged(world: World) -> None:
    """A join along a foreign key is one only between tables that the session's role does not own."""
    sql = "SELECT h.code FROM flat f JOIN house h ON h.id = f.house"
    assert _told(described(world, sql)) == {"flat.house:join-foreign-key", "house.id:join-foreign-key"}
    assert _told(described(world, sql, role="postgres")) == {"flat.house:join", "house.id:join"}
    assert _told(described(world, sql, role="nobody knows")) == {"flat.house:join", "house.id:join"}
    member = "SELECT 1 FROM mine m JOIN theirs t ON t.mine = m.id"
    assert _told(described(world, member, role="lineage_member")) == {"mine.id:join", "theirs.mine:join"}
