"""The corpus, the caches, hostile input, multi-statement messages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Control, Description, SyntaxProblem
from tests.enforcers.postgres.describe.conftest import Server, names
from tests.enforcers.postgres.describe.corpus import CASES, Case

_MARK = {"output": "=", "other": "?", "write": "!"}
One = Callable[..., Description]


def _relations(found: Description) -> set[str]:
    return {
        f"{item.name}:{'+'.join(item.access)}" + (f":{item.via}" if item.via != "direct" else "")
        for item in found.template.relations
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql[:60])
def test_corpus(server: Server, case: Case) -> None:
    describer = Describer(64)
    found = describer.describe_message(case.sql.encode(), catalog=server.catalog, names=names())
    if case.verbs == {"*syntax*"}:
        assert isinstance(found, SyntaxProblem)
        return
    assert isinstance(found, list)
    (description,) = found
    template = description.template
    assert {verb.removeprefix("sql.") for verb in template.verbs} == case.verbs
    assert {item.code for item in template.opaque_reasons} == case.opaque
    assert template.opaque == bool(case.opaque)
    assert _relations(description) == case.relations
    columns = {f"{item.relation}.{item.column}{_MARK[item.use]}" for item in template.columns}
    if "?" in "".join(case.columns) or case.columns or not case.opaque:
        assert columns == case.columns
    assert describer.describe_message(case.sql.encode(), catalog=server.catalog, names=names()) == found
    assert Describer(1).describe_message(case.sql.encode(), catalog=server.catalog, names=names()) == found


def test_every_statement_of_a_message_is_described(server: Server) -> None:
    text = b"SELECT E'\\\\'; DROP TABLE orders; --'\n; DELETE FROM cards"
    found = Describer(4).describe_message(text, catalog=server.catalog, names=names())
    assert isinstance(found, list)
    assert [item.template.command for item in found] == ["SELECT", "DROP TABLE", "DELETE"]
    assert found[1].text.strip() == b"DROP TABLE orders"
    assert not found[0].template.opaque
    assert [reason.code for reason in found[2].template.opaque_reasons] == ["earlier-statement"]


@pytest.mark.parametrize(
    "first",
    [
        "SET search_path = shadow",
        "SET ROLE x",
        "CREATE TEMP TABLE orders (id int)",
        "SELECT set_config('search_path', 'shadow', false)",
        "DO $$BEGIN END$$",
        "ROLLBACK",
        "ALTER TABLE orders RENAME TO x",
        "SELECT proc(1)",
    ],
)
def test_a_statement_behind_a_change_of_names_is_opaque(server: Server, first: str) -> None:
    found = Describer(4).describe_message(
        f"{first}; SELECT id FROM orders".encode(), catalog=server.catalog, names=names()
    )
    assert isinstance(found, list)
    assert "earlier-statement" in {reason.code for reason in found[1].template.opaque_reasons}


def test_names_resolve_by_the_sessions_search_path(one: One) -> None:
    assert one("SELECT * FROM orders", "shadow", "public").template.relations[0].schema == "shadow"
    assert one("SELECT * FROM orders", "public", "shadow").template.relations[0].schema == "public"
    assert one("SELECT * FROM items").template.opaque
    assert not one("SELECT * FROM items", "shop").template.opaque


def test_a_shadowed_operator_counts(one: One) -> None:
    assert not one("SELECT id FROM lines WHERE id = 1").template.opaque
    for sql in ("id = 1", "id IN (1)", "id = ANY (ARRAY[1])", "CASE id WHEN 1 THEN true END", "id IS DISTINCT FROM 1"):
        found = one(f"SELECT id FROM lines WHERE {sql}", "public", "shadow")
        assert [item.code for item in found.template.opaque_reasons] == ["procedural-function"], sql
    found = one("SELECT 1 FROM lines JOIN cards USING (id)", "public", "shadow")
    assert found.template.opaque


def test_temporary_objects_that_were_not_read_make_names_uncertain(server: Server) -> None:
    session = names("public")
    temporary = session.__class__(
        database="corpus", search_path=("pg_temp_3", "pg_catalog", "public"), effective_role="x", session_role="x"
    )
    found = Describer(4).describe_message(b"SELECT id FROM orders", catalog=server.catalog, names=temporary)
    assert isinstance(found, list)
    assert found[0].template.opaque
    found = Describer(4).describe_message(b"SELECT id FROM public.orders", catalog=server.catalog, names=temporary)
    assert isinstance(found, list)
    assert not found[0].template.opaque


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", False),
        ("WHERE true", False),
        ("WHERE 1 = 1", False),
        ("WHERE id = id", False),
        ("WHERE id = 1 OR 1 = 1", False),
        ("WHERE id = 1 AND 1 = 1", True),
        ("WHERE id = $1", True),
        ("WHERE $1", True),
        ("WHERE CURRENT OF c", True),
        ("WHERE (SELECT true FROM cards LIMIT 1)", True),
    ],
)
def test_has_where(one: One, where: str, expected: bool) -> None:
    assert one(f"DELETE FROM lines {where}").template.has_where is expected
    assert (
        one(f"WITH d AS (DELETE FROM lines {where}) UPDATE cards SET pan = '' WHERE id = 1").template.has_where
        is expected
    )


@pytest.mark.parametrize(
    ("sql", "control"),
    [
        ("BEGIN", Control.BEGIN),
        ("END", Control.COMMIT),
        ("ABORT", Control.ROLLBACK),
        ("ROLLBACK TO a", Control.ROLLBACK_TO),
        ("RELEASE a", Control.SAVEPOINT),
        ("COMMIT PREPARED 'a'", Control.PREPARED),
        ("SET TRANSACTION READ ONLY", Control.SET_TRANSACTION),
        ("SELECT 1", Control.NONE),
    ],
)
def test_control(one: One, sql: str, control: Control) -> None:
    assert one(sql).control is control


def test_settings(one: One) -> None:
    def found(sql: str) -> list[tuple[str, str, str]]:
        return [(item.name, item.action, item.value) for item in one(sql).template.settings]

    assert found('SET Search_Path = a, "B"') == [("search_path", "set", "a, B")]
    assert found("SET LOCAL row_security = 0") == [("row_security", "set-local", "off")]
    assert found("SET LOCAL search_path TO DEFAULT") == [("search_path", "reset", "")]
    assert found("SET search_path = ''") == [("search_path", "set", "")]
    assert found('SET ROLE "Reader"') == [("role", "set", "Reader")]
    assert found("RESET ALL") == [("*", "reset", "")]
    assert found("SET application_name = 'secret'") == [("application_name", "set", "")]
    assert found("BEGIN READ ONLY") == [("transaction_read_only", "set-local", "on")]
    assert found("SELECT set_config('search_path', 'x', true)") == [("search_path", "set-local", "x")]
    assert one("SET search_path = x").changes_names
    assert not one("SET work_mem = 1").changes_names


def test_output_origins(one: One) -> None:
    found = one("SELECT email, lower(name), address FROM customers, contact2")
    assert [item.origin.column if item.HasField("origin") else "" for item in found.template.output] == [
        "email",
        "",
        "email",
    ]
    view = found.template.output[2].origin
    assert (view.relation, view.attribute) == ("customers", 3)
    assert found.wire[2] != (view.relation_oid, view.attribute)  # the server will name the view's column


def test_the_shape_leaves_out_plain_constants_only(server: Server) -> None:
    describer = Describer(64)

    def shape(sql: str) -> bytes:
        found = describer.describe_message(sql.encode(), catalog=server.catalog, names=names())
        assert isinstance(found, list)
        return found[0].shape_digest

    assert shape("SELECT sku FROM lines WHERE id = 1") == shape("SELECT sku FROM lines WHERE id = 22")
    assert shape("SELECT sku FROM lines WHERE id = 1") != shape("SELECT sku FROM lines WHERE id = 1.5")
    assert shape("SELECT sku FROM lines WHERE id = 1") != shape("SELECT sku FROM lines WHERE id = 9999999999999")
    assert shape("SELECT sku FROM lines WHERE sku = 'a'") == shape("SELECT sku FROM lines WHERE sku = 'b''c'")
    assert shape("SELECT sku FROM lines WHERE sku = 'a'") != shape("SELECT sku FROM lines WHERE sku = E'a'")
    assert shape("SELECT sku FROM lines ORDER BY 1") != shape("SELECT sku FROM lines ORDER BY 2")
    assert shape("SELECT nextval('counter')") != shape("SELECT nextval('other')")
    assert shape("SET ROLE a") != shape("SET ROLE b")
    assert shape("DELETE FROM lines WHERE true") != shape("DELETE FROM lines WHERE false")
    assert shape("SELECT left(pan, 1) FROM cards") != shape("SELECT left(pan, 2) FROM cards")
    assert shape("INSERT INTO lines VALUES (1, 2, 'a')") == shape("INSERT INTO lines VALUES (3, 4, 'b')")
    assert shape("SELECT sku FROM lines LIMIT 1") == shape("SELECT sku FROM lines LIMIT 20000")
    assert shape("SELECT sku FROM lines LIMIT 1") != shape("SELECT sku FROM lines LIMIT ALL")
    assert shape("SELECT sku FROM lines -- a") != shape("SELECT sku FROM lines -- b")


def test_what_comes_all_the_time_is_known_by_its_beginning(server: Server) -> None:
    """The third of a shape is neither read by the grammar nor looked up in what holds whole texts and shapes."""

    def describe(by: Describer, number: int) -> object:
        text = f"SELECT sku FROM lines WHERE id = {number}"
        return by.describe_message(text.encode(), catalog=server.catalog, names=names())

    describer = Describer(64)
    describe(describer, 1)
    describe(describer, 2)
    describer._exact.clear()
    describer._shapes.clear()
    assert describe(describer, 3) == describe(Describer(1), 3)
    assert not describer._exact
    assert not describer._shapes


@settings(max_examples=60, deadline=None)
@given(number=st.integers(-(10**20), 10**20), text=st.text(max_size=12).filter(lambda item: "\x00" not in item))
def test_a_description_by_shape_equals_one_made_anew(server: Server, number: int, text: str) -> None:
    describer = Describer(64)
    quoted = "'" + text.replace("'", "''") + "'"
    for sql in (
        f"SELECT sku FROM lines WHERE id = {number} AND sku = {quoted} LIMIT 5",
        f"UPDATE lines SET sku = {quoted} WHERE id IN ({number}, 2)",
        f"SELECT sku, {quoted} FROM lines ORDER BY 1",
    ):
        describer.describe_message(
            sql.replace(str(number), "7").replace(quoted, "'q'").encode(), catalog=server.catalog, names=names()
        )
        try:
            data = sql.encode()
        except UnicodeEncodeError:
            return
        again = describer.describe_message(data, catalog=server.catalog, names=names())
        anew = Describer(1).describe_message(data, catalog=server.catalog, names=names())
        assert again == anew


def test_nothing_survives_another_catalog_or_other_names(server: Server) -> None:
    describer = Describer(64)
    text = b"SELECT id FROM orders WHERE id = 1"
    first = describer.describe_message(text, catalog=server.catalog, names=names("public"))
    other = describer.describe_message(text, catalog=server.catalog, names=names("shadow"))
    assert isinstance(first, list)
    assert isinstance(other, list)
    assert first[0].template.relations[0].oid != other[0].template.relations[0].oid
    assert first[0].shape_digest != other[0].shape_digest
    reader = describer.describe_message(text, catalog=server.catalog, names=names("public", role="reader"))
    assert isinstance(reader, list)
    assert reader[0].static_digest != first[0].static_digest


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT " + b"(" * 100_000 + b"1" + b")" * 100_000,
        b"SELECT " + b"1+" * 100_000 + b"1",
        b"SELECT 1" + b"::int" * 15_000,
        b"SELECT 1" + b" UNION SELECT 1" * 5_000,
        b"SELECT * FROM orders" + b" CROSS JOIN orders" * 4_000,
        b"SELECT " + b"NOT " * 9_000 + b"true",
        b"SELECT " + b"f(" * 3_000 + b"1" + b")" * 3_000,
        b"SELECT 1 WHERE 1 IN (" + b"1," * 1_000_000 + b"1)",
        b"SELECT '\xff'",
        b"SELECT 'unfinished",
        b"SELEC 1",
        b"\x00",
    ],
    ids=range(12),
)
def test_hostile_text_is_refused_in_time(server: Server, text: bytes) -> None:
    began = time.process_time()
    found = Describer(4).describe_message(text, catalog=server.catalog, names=names())
    assert isinstance(found, SyntaxProblem)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT '" + b"x" * (10 << 20) + b"'",
        b"INSERT INTO lines (sku) VALUES " + b",".join([b"('" + b"y" * 500 + b"')"] * 20_000),
        b"SELECT sku FROM lines WHERE " + b" OR ".join(b"id = %d" % item for item in range(5_000)),
    ],
    ids=["literal", "rows", "or"],
)
def test_large_statements_are_described(server: Server, text: bytes) -> None:
    found = Describer(4).describe_message(text, catalog=server.catalog, names=names())
    assert isinstance(found, list)
    assert not found[0].template.opaque


def test_positions_are_characters_from_one(server: Server) -> None:
    found = Describer(4).describe_message("SELECT 'ä' FRM x y".encode(), catalog=server.catalog, names=names())
    assert found == SyntaxProblem('syntax error at or near "x"', 16)


def test_a_word_of_another_class_makes_the_statement_opaque(server: Server) -> None:
    catalog = dataclasses.replace(server.catalog, foreign_words=frozenset({"merge", "json("}))
    describe = Describer(4).describe_message
    text = b"MERGE INTO lines l USING cards c ON l.id = c.id WHEN MATCHED THEN DELETE"
    found = describe(text, catalog=catalog, names=names())
    assert isinstance(found, list)
    assert [item.code for item in found[0].template.opaque_reasons] == ["keyword-class"]
    found = describe(b"SELECT 'merge' AS \"merge\"", catalog=catalog, names=names())
    assert isinstance(found, list)
    assert not found[0].template.opaque
    for text, expected in ((b"SELECT '{}'::json", False), (b"SELECT json /* x */ ('{}')", True)):
        found = describe(text, catalog=catalog, names=names())
        assert isinstance(found, list)
        assert ("keyword-class" in {item.code for item in found[0].template.opaque_reasons}) is expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SET standard_conforming_strings = off", True),
        ("SET standard_conforming_strings = on", False),
        ("RESET standard_conforming_strings", True),
        ("SELECT set_config('standard_conforming_strings', 'off', false)", True),
        ("SET client_encoding = 'SJIS'", True),
        ("SET NAMES 'UTF8'", False),
        ("SET backslash_quote = on", True),
        ("SET work_mem = 1", False),
        ("SHOW client_encoding", False),
    ],
)
def test_a_change_of_what_text_means_is_told(one: One, sql: str, expected: bool) -> None:
    found = one(sql)
    assert found.changes_grammar is expected
    assert found.template.opaque is expected


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (proc(1) = 1)",
        "CREATE TYPE pg_temp.x AS (a int)",
        "CREATE TABLE pg_temp.orders (id int)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "SELECT * INTO TEMP x FROM lines",
    ],
)
def test_temporary_objects_change_names(one: One, sql: str) -> None:
    found = one(sql)
    assert found.makes_temporary
    assert found.changes_names


def test_a_dropped_schema_names_its_relations(one: One) -> None:
    assert {item.name for item in one("DROP SCHEMA shop CASCADE").template.relations} == {"items"}


def test_a_temporary_type_may_shadow_any(server: Server) -> None:
    temporary = dataclasses.replace(names(), search_path=("pg_temp_3", "pg_catalog", "public"))
    found = Describer(4).describe_message(b"SELECT 'x'::text", catalog=server.catalog, names=temporary)
    assert isinstance(found, list)
    assert found[0].template.opaque


def test_caches_are_bounded(server: Server) -> None:
    describer = Describer(8)
    for item in range(200):
        text = b"SELECT id AS c%d FROM lines -- %s" % (item, b"x" * 6000)
        describer.describe_message(text, catalog=server.catalog, names=names())
    assert len(describer._exact) <= 8
    assert len(describer._shapes) <= 8


def test_a_known_text_is_known_where_it_was_described_only(server: Server) -> None:
    """Found by its first bytes, whichever object says how names resolve; never under other names or another catalog."""
    describer = Describer(8)

    def ask(number: int, catalog: Catalog = server.catalog, *path: str) -> Description:
        text = b"SELECT id FROM lines WHERE id = %d" % number
        found = describer.describe_message(text, catalog=catalog, names=names(*path))
        assert isinstance(found, list)
        assert found[0].text == text
        return found[0]

    first = ask(1)
    for number in range(20):
        again = ask(number)
        assert again.template is first.template
        assert again.shape_digest == first.shape_digest
    elsewhere = ask(1, server.catalog, "nowhere")
    assert elsewhere.opaque
    assert not first.opaque
    later = ask(1, dataclasses.replace(server.catalog, version=server.catalog.version + 1_000_000))
    assert later.template is not first.template
    assert ask(3).template is first.template
    for number in range(40):
        ask(number, server.catalog, f"nowhere{number}")
    assert ask(1).template == first.template
    assert len(describer._recent) <= 8


def test_what_the_target_would_not_read_is_no_known_text(server: Server) -> None:
    """Also where all else of it has a known shape: PostgreSQL refuses it before it parses."""
    describer = Describer(8)

    def ask(value: bytes) -> object:
        text = b"SELECT id FROM lines WHERE sku = '%s'" % value
        return describer.describe_message(text, catalog=server.catalog, names=names())

    for value in (b"a", b"b", b"c"):
        assert isinstance(ask(value), list)
    for value in (b"\xff", b"\xc0\x80", b"a\0b"):
        assert isinstance(ask(value), SyntaxProblem)


def test_set_config_means_what_is_written(one: One) -> None:
    """A cast may make another text of a constant: then neither name nor value is known."""
    assert not one("SELECT set_config('search_path', ''::text, false)").template.opaque
    for text in (
        "SELECT set_config('search_path', ''::bytea::text, false)",
        "SELECT set_config('search_pathx'::varchar(11), '', false)",
        "SELECT set_config('row_security', 'off'::boolean::text, false)",
        "SELECT set_config('row_security', 'off' || '', false)",
        "SET search_path FROM CURRENT",
    ):
        found = one(text).template
        assert [reason.code for reason in found.opaque_reasons] == ["dynamic-setting"], text


_DUMPS = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'row_security'"


def test_a_setting_that_a_query_over_pg_settings_names(one: One) -> None:
    found = one(_DUMPS).template
    assert not found.opaque
    assert [(item.name, item.action, item.value) for item in found.settings] == [
        ("row_security", "set", "view, foreign-table")
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name = 'row_security'", "name <> 'row_security'"),
        ("name = 'row_security'", "name = 'row_security' OR true"),
        ("name = 'row_security'", "name = lower('ROW_SECURITY')"),
        ("name = 'row_security'", "setting = 'row_security'"),
        ("FROM pg_settings", "FROM customers"),
        ("FROM pg_settings", "FROM pg_settings, customers"),
        ("FROM pg_settings", "FROM (SELECT 'role' AS name) AS pg_settings"),
        ("FROM pg_settings", "FROM pg_settings AS s(category, setting, name)"),
        ("set_config(name,", "(SELECT set_config(name,"),
        ("set_config(name,", "set_config(category,"),
        ("SELECT ", "WITH pg_settings AS (SELECT 'role' AS name) SELECT "),
    ],
)
def test_any_other_query_sets_nobody_knows_what(one: One, old: str, new: str) -> None:
    text = _DUMPS.replace(old, new, 1)
    if new.startswith("(SELECT"):
        text = text.replace("false) FROM", "false) FROM (VALUES ('role')) AS v(name)) FROM", 1)
    assert "dynamic-setting" in {reason.code for reason in one(text).template.opaque_reasons}, text


def test_the_lock_that_reading_takes_is_no_write(one: One) -> None:
    reading = one("LOCK TABLE customers, contact IN ACCESS SHARE MODE")
    assert list(reading.template.verbs) == ["sql.lock-read"]
    assert not reading.writes_or_locks
    for mode in ("", " IN ROW SHARE MODE", " IN EXCLUSIVE MODE NOWAIT"):
        found = one(f"LOCK TABLE customers{mode}")
        assert list(found.template.verbs) == ["sql.lock"]
        assert found.writes_or_locks
