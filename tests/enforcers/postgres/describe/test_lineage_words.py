"""Each word of the requirement on lineage has a statement here, and the sources of its columns are exactly these.

Sources alone, in the words of the requirement and its order: what decides which row comes, or whether one does, is an
inference. What else each construct tells is in lineage.txt and lineage_18.txt, form by form. Words of newer servers are
described under the newest grammar, as there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.description import Description
from enforcers.postgres.machine_lineage import executed, fetched
from tests.enforcers.postgres.describe.lineage_world import World, described, newest
from tests.enforcers.postgres.describe.test_lineage import printed

_WHOLE = [
    "at",
    "born",
    "dept",
    "doc",
    "id",
    "name",
    "ok",
    "r",
    "rate",
    "raw",
    "salary",
    "ssn",
    "tags",
    "tiny",
]  # p's columns


def row(way: str) -> str:
    return "+".join(sorted(f"p.{column}{way}" for column in _WHOLE))


WORDS = [
    ("aliases", "SELECT x.ssn AS id, x.id AS ssn FROM p AS x", "p.ssn= p.id="),
    ("column aliases", "SELECT x.c3 FROM p AS x(c1, c2, c3)", "p.ssn="),
    ("star", "SELECT * FROM d", "d.id= d.title= d.head="),
    ("joins", "SELECT d.title, p.ssn FROM p JOIN d ON d.id = p.dept", "d.title= p.ssn="),
    ("USING", "SELECT id, ssn FROM d JOIN p USING (id)", "d.id=+p.id= p.ssn="),
    ("NATURAL", "SELECT id, body, ssn FROM p NATURAL JOIN n", "n.id=+p.id= n.body= p.ssn="),
    ("CTEs", "WITH c AS (SELECT ssn AS k FROM p) SELECT k FROM c", "p.ssn="),
    ("recursive CTEs", "WITH RECURSIVE t(a, n) AS (SELECT ssn, 1 FROM p UNION ALL SELECT a, n + 1 FROM t WHERE n < 3)"
     " SELECT a, n FROM t", "p.ssn= -"),
    ("subqueries", "SELECT (SELECT ssn FROM p x WHERE x.id = d.head) FROM d", "d.head~+p.id~+p.ssn="),
    ("LATERAL", "SELECT x.y FROM p, LATERAL (SELECT p.ssn AS y) x", "p.ssn="),
    ("set operations", "SELECT ssn FROM p UNION ALL SELECT title FROM d", "d.title=+p.ssn="),
    ("whole-row values", "SELECT p FROM p", row("~")),
    ("functional notation", "SELECT ssn(p) FROM p", row("~")),
    ("composite fields", "SELECT (it).y FROM held", "held.it~"),
    ("arrays", "SELECT ARRAY[ssn, name] FROM p", "p.name~+p.ssn~"),
    ("subscripts", "SELECT tags[id] FROM p", "p.id~+p.tags~"),
    ("ranges", "SELECT r, lower(r) FROM p", "p.r= p.r!"),
    ("domains", "SELECT ssn::short FROM p", "p.ssn!"),
    ("casts", "SELECT salary::text, ssn::int FROM p", "p.salary~ p.ssn!"),
    ("CASE", "SELECT CASE WHEN ok THEN ssn ELSE name END FROM p", "p.name~+p.ok~+p.ssn~"),
    ("aggregates", "SELECT max(ssn), count(name) FROM p", "p.ssn~ p.name~"),
    ("WITHIN GROUP", "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY salary) FROM p", "p.salary~"),
    ("FILTER", "SELECT max(ssn) FILTER (WHERE ok) FROM p", "p.ok~+p.ssn~"),
    ("windows", "SELECT lag(ssn) OVER (PARTITION BY dept ORDER BY id) FROM p", "p.ssn~"),
    ("GROUPING SETS", "SELECT dept, ok FROM p GROUP BY GROUPING SETS ((dept), (ok))", "p.dept= p.ok="),
    ("VALUES", "VALUES ((SELECT max(ssn) FROM p), 1)", "p.ssn~ -"),
    ("TABLE", "TABLE d", "d.id= d.title= d.head="),
    ("RETURNING of INSERT", "INSERT INTO n (id, body) SELECT id, ssn FROM p RETURNING body", "n.body=+p.ssn="),
    ("RETURNING of UPDATE", "UPDATE n SET body = p.ssn FROM p WHERE p.id = n.id RETURNING body", "n.body=+p.ssn="),
    ("RETURNING of DELETE", "DELETE FROM n USING p WHERE p.id = n.id RETURNING n.body, p.ssn", "n.body= p.ssn="),
    ("RETURNING OLD and NEW", "UPDATE n SET body = (SELECT max(ssn) FROM p) RETURNING old.body, new.body",
     "n.body= n.body=+p.ssn~"),
    ("RETURNING of MERGE", "MERGE INTO n USING p ON n.id = p.id WHEN MATCHED THEN UPDATE SET body = p.ssn"
     " RETURNING n.body, p.name", "n.body=+p.ssn= p.name="),
    ("ON CONFLICT", "INSERT INTO house (id, code) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET code = house.street"
     " RETURNING code", "house.code=+house.street="),
    ("generated columns", "SELECT b FROM gen", "gen.a~+gen.b="),
    ("views over views", "SELECT sx FROM vv", "p.ssn~+v.s~+vv.sx="),
    ("materialised views", "SELECT total FROM sums", "p.salary~+sums.total="),
    ("partitions", "SELECT v FROM part", "part.v=+part_a.v="),
    ("inheritance", "SELECT v FROM mother", "child.v=+mother.v="),
    ("SQL functions", "SELECT up(ssn), look(id) FROM p", "p.ssn~ p.ssn="),
    ("set-returning functions", "SELECT unnest(tags) FROM p", "p.tags!"),
    ("ROWS FROM", "SELECT a, b FROM p, ROWS FROM (unnest(tags), generate_series(1, dept)) AS f(a, b)",
     "p.tags! p.dept!"),
    ("JSON constructors", "SELECT JSON_OBJECT('k': ssn), JSON_ARRAY(name, id) FROM p", "p.ssn! p.id!+p.name!"),
    ("JSON_TABLE", "SELECT t.a FROM p, JSON_TABLE(doc, '$' COLUMNS (a text PATH '$.a')) t", "p.doc!"),
    ("XML functions", "SELECT xmlelement(name a, ssn) FROM p", "p.ssn!"),
    ("XMLTABLE", "SELECT x.t FROM p, XMLTABLE('/r' PASSING xmlelement(name r, ssn) COLUMNS t text PATH '.') x",
     "p.ssn!"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "sql", "expected"), WORDS, ids=[word for word, _, _ in WORDS])
def test_a_word_has_exactly_these_sources(world: World, word: str, sql: str, expected: str) -> None:
    description = described(newest(world), sql)
    assert not description.template.opaque, (word, list(description.template.opaque_reasons))
    assert printed(description)[0] == expected


def test_fetch_from_a_cursor_declared_earlier(world: World) -> None:
    cursor = described(world, "DECLARE c CURSOR FOR SELECT ssn, upper(name) FROM p")
    assert printed(fetched(described(world, "FETCH 2 FROM c"), (cursor,)))[0] == "p.ssn= p.name~"


def test_execute_of_a_prepared_statement(world: World) -> None:
    prepared = described(world, "PREPARE q AS SELECT ssn, upper(name) FROM p")
    assert printed(executed(described(world, "EXECUTE q"), prepared))[0] == "p.ssn= p.name~"


def test_foreign_tables(one: Callable[..., Description]) -> None:
    """More of them: test_relations.py; on a real server: tests/e2e/test_foreign_tables.py."""
    assert printed(one("SELECT pan, upper(holder) FROM far.invoices"))[0] == "invoices.pan= invoices.holder~"
