"""Which columns constants and parameters met: a constant's number is its place in the text, whatever else is there."""

from __future__ import annotations

import pytest

from decision import redaction
from enforcers.postgres.describe import literals
from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.lineage_world import World, described


def met(description: Description) -> str:
    """1:p.ssn $1:p.id 2:- : by constant and parameter."""
    return " ".join(
        (f"${item.parameter}" if item.parameter else str(item.constant))
        + ":"
        + ("+".join(sorted(f"{column.relation}.{column.column}" for column in item.columns)) or "-")
        for item in description.template.literals
    )


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 7, id FROM p WHERE ssn = '123' AND id = 5", "2:p.ssn 3:p.id"),
        ("SELECT id FROM p WHERE '123' = ssn", "1:p.ssn"),
        ("SELECT id FROM p WHERE ssn IN ('1', '2') OR id BETWEEN 3 AND 4", "1:p.ssn 2:p.ssn 3:p.id 4:p.id"),
        ("SELECT id FROM p WHERE ssn LIKE '1%' AND id <> -5 LIMIT 10 OFFSET 3", "1:p.ssn 2:p.id 3:- 4:-"),
        ("SELECT id FROM p WHERE name = 'é' AND ssn = 'ü' -- 'x'", "1:p.name 2:p.ssn"),
        ("SELECT id FROM p WHERE id = - 5 AND ssn = $$a$$", "1:p.id 2:p.ssn"),
        ("SELECT id FROM p WHERE id = -\t/* 4 */\n 5 AND ssn = 'x'", "1:p.id 2:p.ssn"),
        ("SELECT id FROM p WHERE ssn = '1'::varchar AND id = CAST('5' AS int)", "1:p.ssn 2:p.id"),
        ("SELECT id FROM p WHERE ssn = $2 AND id = $1", "$1:p.id $2:p.ssn"),
        ("SELECT x.i FROM (SELECT ssn AS i FROM p) x WHERE x.i = '9'", "1:p.ssn"),
        ("UPDATE p SET ssn = '1', name = $1 WHERE id = 3", "1:p.ssn 2:p.id $1:p.name"),
        ("INSERT INTO p (id, ssn) VALUES (1, '2'), ($1, $2)", "1:p.id 2:p.ssn $1:p.id $2:p.ssn"),
        ("DELETE FROM p WHERE ssn = '1'", "1:p.ssn"),
        # What isn't certain is not said: it counts as having met everything.
        ("SELECT id FROM p WHERE ssn = upper('1')", ""),
        ("SELECT id FROM p WHERE id + 5 = 7", "2:p.id"),
        ("SELECT id FROM p WHERE ssn = (CASE WHEN id = 5 THEN '1' ELSE '2' END)", "1:p.id"),
        ("SELECT id FROM p WHERE '1' = '2'", ""),
        ("SELECT id FROM p WHERE id = $1 OR upper($1) = ssn", ""),
        ("SELECT ssn || '1' FROM p", ""),
        ("SELECT '1'", ""),
        # Nor where what is stored may go on.
        ("INSERT INTO n (id, body) VALUES (1, 'x') ON CONFLICT DO NOTHING", ""),
        (
            "WITH w AS (INSERT INTO n (body) VALUES ('1') RETURNING body) INSERT INTO p (ssn) SELECT body FROM w",
            "",
        ),
        ("WITH w AS (UPDATE n SET body = $1 WHERE id = 3 RETURNING body) UPDATE p SET ssn = body FROM w", "1:n.id"),
        ("INSERT INTO gen2 (t) VALUES ('1')", "1:gen2.t+gen2.u+gen2.w"),
    ],
)
def test_what_a_constant_met(world: World, statement: str, expected: str) -> None:
    assert met(described(world, statement)) == expected


def test_the_place_is_that_which_the_reader_finds_again(world: World) -> None:
    """Only the constant that met the column goes, in a text full of others; and both sides count the same words."""
    assert literals._CONSTANTS == redaction._CONSTANTS
    items = "TRUE, 1.5, X'1F', B'01', E'\\'', U&'\\0041', $a$b$a$, /* 1 */ id"
    text = f"SELECT {items} FROM p WHERE ssn = 'SECRET' AND id = 77"
    template = described(world, text).template
    hidden = {item.constant: ({"pii"} if item.columns[0].column == "ssn" else set()) for item in template.literals}
    shown = redaction.statement(text.encode(), hidden, ()).decode()
    assert shown.endswith("FROM p WHERE ssn = ‹pii› AND id = 77")
    assert "X'1F'" in shown


def test_a_constant_s_place_is_the_same_in_every_text_of_a_shape(world: World) -> None:
    one = described(world, "SELECT id FROM p WHERE name = 'a''b' AND ssn = '1'")
    other = described(world, "SELECT id FROM p WHERE name = '' AND ssn = 'long, and ''quoted'''")
    assert one.shape_digest == other.shape_digest
    assert met(one) == met(other) == "1:p.name 2:p.ssn"


def test_so_many_are_listed_and_no_more(world: World) -> None:
    rows = ", ".join("(1, '2')" for _ in range(1000))
    found = described(world, f"INSERT INTO p (id, ssn) VALUES {rows}")
    assert len(found.template.literals) == literals.MAX_LISTED
