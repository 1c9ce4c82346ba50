"""Every masker through a real client in every format: rows in text and binary, mixed, paged, pipelined, COPY."""

from __future__ import annotations

import asyncio
import datetime
import io
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg
import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from enforcers.postgres import wire
from tests.e2e.clients import admin, connect, until
from tests.e2e.test_wire_attacks import exchange, query, raw, rows, run

KEY = "canary-of-the-masking-key-0123456789"
SECRETS = ("anna@secret-host.org", "4111111111111234", "Hidden Street", "123456.78")
TABLE = """
CREATE TABLE masks (id int PRIMARY KEY, email text, pan varchar(19), born date, seen timestamptz, pay numeric(12,2),
  visits bigint, profile jsonb, notes json, login uuid, fax char(20), photo inet, tags text[], plain text);
INSERT INTO masks SELECT n, 'anna@secret-host.org', '4111111111111234', '1984-07-09', '2024-03-31 03:30:00.5+02',
  123456.78 + n, 1234 + n, '{"name": "x", "address": {"street": "Hidden Street", "zip": "123456.78"}}',
  '{"address": [{"street": "Hidden Street"}, 7]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'anna@secret-host.org',
  '10.9.8.7', '{Hidden Street}', 'row, ' || n FROM generate_series(1, 300) n;
CREATE TABLE other (id int, email text);
INSERT INTO other VALUES (1, 'anna@secret-host.org'), (2, 'bob@secret-host.org');
GRANT SELECT ON masks, other TO company_ro, company_rw;
"""
MASKERS = """\
clear: {executor: ["*"]}
default: {type: "null"}
maskers:
  email: {type: email}
  pan: {type: keep-last, n: 4, fill: "*"}
  born: {type: truncate-date, to: year}
  seen: {type: truncate-date, to: hour}
  pay: {type: bucket, size: 1000}
  visits: {type: hash}
  profile: {type: json, paths: [[address, street], [address, zip]]}
  login: {type: hash}
  fax: {type: hash}
  joined: {type: hash}
roles:
  planner:
    email: {type: hash}
"""
LABELS = ("email", "pan", "born", "seen", "pay", "visits", "profile", "login", "fax", "photo", "tags")


class Masked(Stack):
    def start_database(self) -> None:
        super().start_database()
        self.database.run(TABLE, database=DATABASE)
        key = self.folder / "masking.key"
        key.touch(mode=0o600)
        key.write_text(KEY + "\n", encoding="utf-8")
        shutil.copytree(Path(__file__).resolve().parents[2] / "rego" / "data", self.folder / "policy-data")
        (self.folder / "policy-data" / "masking.yaml").write_text(MASKERS, encoding="utf-8")
        with (self.folder / "company.classification.yaml").open("a", encoding="utf-8") as classification:
            classification.write("public.masks.notes: profile\npublic.other.email: email\n")
            classification.writelines(f"public.masks.{label}: {label}\n" for label in LABELS)


@pytest.fixture(scope="module")
def masks() -> Iterator[Stack]:
    config = CONFIG + "policy: {{data: policy-data}}\nmasking: {{key: {{file: masking.key}}}}\n"
    with Masked(config=config) as stack:
        yield stack


ALL = f"SELECT id, {', '.join(LABELS)}, notes, plain FROM masks WHERE id <= 2 ORDER BY id"


def check(row: tuple[object, ...]) -> None:
    """One row as psycopg reads it."""
    number, email, pan, born, seen, pay, visits, profile, login, fax, photo, tags, notes, plain = row
    assert isinstance(number, int)
    assert (photo, tags, plain) == (None, None, f"row, {number}")
    assert isinstance(email, str)
    assert len(email) == 32
    assert pan == "*" * 12 + "1234"
    assert born == datetime.date(1984, 1, 1)
    assert seen == datetime.datetime(2024, 3, 31, 1, tzinfo=datetime.UTC)
    assert pay == Decimal("123000.00")
    assert isinstance(visits, int)
    assert visits > 2**32
    assert profile == {"name": "x", "address": {"street": None, "zip": None}}
    assert notes == {"address": [{"street": None}, None]}
    assert isinstance(login, UUID)
    assert login.version == 8
    assert isinstance(fax, str)
    assert len(fax.strip()) == 20


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_every_masker_in_both_formats(masks: Stack, binary: bool, prepare: bool) -> None:
    with connect(masks, "planner") as client:
        client.execute("SET TimeZone = 'Asia/Kolkata'")
        found = client.execute(ALL.encode(), binary=binary, prepare=prepare).fetchall()
        assert len(found) == 2
        for row in found:
            check(row)
        again = client.execute(ALL.encode(), binary=not binary).fetchall()
        assert again == found  # the hashes too: text and binary join
        mine = client.execute("SELECT email FROM masks WHERE id = 1").fetchall()
        assert client.execute("SELECT email FROM other WHERE id = 1", binary=True).fetchall() == mine
        assert client.execute("SELECT email FROM other WHERE id = 2").fetchall() != mine


def test_an_executor_sees_them_as_they_are(masks: Stack) -> None:
    with connect(masks, "executor", connection="sandbox") as client:
        assert client.execute("SELECT email FROM masks WHERE id = 1").fetchone() == (SECRETS[0],)


def test_hashes_of_another_connection_do_not_join(masks: Stack) -> None:
    found = set()
    for connection in (DATABASE, "sandbox"):
        with connect(masks, "planner", connection=connection) as client:
            found.add(client.execute("SELECT email FROM masks WHERE id = 1").fetchone())
    assert len(found) == 2


def test_asyncpg_reads_every_type_in_binary(masks: Stack) -> None:
    async def read() -> list[asyncpg.Record]:
        host, port = masks.address()
        password = masks.token("planner-3", "planner")
        client = await asyncpg.connect(host=host, port=port, user="planner", password=password, database=DATABASE)
        try:
            async with client.transaction():
                cursor = await client.cursor("SELECT id, pan, born, seen, pay, visits, login FROM masks ORDER BY id")
                return [*await cursor.fetch(7), *await cursor.fetch(5)]
        finally:
            await client.close()

    found = asyncio.run(read())
    assert [row["id"] for row in found] == list(range(1, 13))
    assert {(row["pan"], row["born"], row["pay"]) for row in found} == {
        ("*" * 12 + "1234", datetime.date(1984, 1, 1), Decimal("123000.00"))
    }


@pytest.mark.parametrize("binary", [False, True])
def test_pages_of_a_cursor_and_pipelines(masks: Stack, binary: bool) -> None:
    with connect(masks, "planner", autocommit=False) as client:
        with client.cursor("paged", binary=binary) as cursor:
            cursor.itersize = 40
            cursor.execute("SELECT id, pan, tags FROM masks ORDER BY id")
            found = cursor.fetchall()
        assert found == [(n, "*" * 12 + "1234", None) for n in range(1, 301)]
        client.rollback()
        with client.pipeline():
            cursors = [
                client.cursor(binary=binary).execute("SELECT pan, pay FROM masks WHERE id = %s", [n]) for n in (1, 2, 3)
            ]
        assert [cursor.fetchone() for cursor in cursors] == [("*" * 12 + "1234", Decimal("123000.00"))] * 3


async def test_formats_mixed_by_column_without_describe(masks: Stack) -> None:
    statement = b"SELECT id, born, born, visits, visits, profile, profile, pay FROM masks WHERE id = 1"
    async with raw(masks, "planner") as client:
        formats = (0, 1, 0, 1, 0, 1, 0, 1)
        frames = await exchange(
            client,
            wire.parse(b"", statement) + wire.bind(b"", b"", result_formats=formats) + wire.execute(b"") + wire.SYNC,
        )
        ((_, born, born_text, visits, visits_text, profile, profile_text, pay),) = rows(frames)
    assert born == (datetime.date(1984, 1, 1) - datetime.date(2000, 1, 1)).days.to_bytes(4, "big", signed=True)
    assert born_text == b"1984-01-01"
    assert visits is not None
    assert visits_text == str(int.from_bytes(visits, "big")).encode()
    assert profile == b"\1" + (profile_text or b"")
    assert pay == bytes.fromhex("0002 0001 0000 0002 000c 0bb8".replace(" ", ""))  # 12, 3000: 123000.00


def test_dates_need_iso_in_text_and_not_in_binary(masks: Stack) -> None:
    with connect(masks, "planner") as client:
        client.execute("SET DateStyle = 'SQL, DMY'")
        with pytest.raises(psycopg.Error, match="ISO") as refused:
            client.execute("SELECT born FROM masks WHERE id = 1")
        assert refused.value.sqlstate == "42501"
        assert "DateStyle = ISO" in str(refused.value.diag.message_hint)
        found = client.execute("SELECT born FROM masks WHERE id = 1", binary=True).fetchone()
        assert found == (datetime.date(1984, 1, 1),)
        client.execute("SET DateStyle = 'ISO, MDY'")
        assert client.execute("SELECT born FROM masks WHERE id = 1").fetchone() == found


COPIES = [
    "COPY masks TO STDOUT{}",
    "COPY masks (plain, email, pan, pay, tags, id) TO STDOUT{}",
    "COPY (SELECT m.pan AS x, id, plain, email FROM masks m WHERE id < 50 ORDER BY id) TO STDOUT{}",
    "/* ( */ COPY (WITH a AS (SELECT * FROM masks) SELECT pan, 'é('::text, profile, born FROM a) TO STDOUT{}",
]
OPTIONS = [
    "",
    " (FORMAT csv, HEADER, FORCE_QUOTE *)",
    " CSV DELIMITER ';' QUOTE ''''",
    " (DELIMITER '|')",
    " (FORMAT binary)",
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("copy", COPIES)
def test_copy_is_masked_row_by_row(masks: Stack, copy: str, options: str) -> None:
    """Simple (psycopg's COPY) and extended (Parse, Bind, Execute by libpq) are the same bytes, and none is secret."""
    statement = copy.format(options).encode()
    with connect(masks, "planner") as client:
        with client.cursor().copy(statement) as reading:
            sent = b"".join(bytes(part) for part in reading)
        result = client.pgconn.exec_params(statement, [])
        assert result.status == psycopg.pq.ExecStatus.COPY_OUT, result.error_message
        extended = b""
        while (part := client.pgconn.get_copy_data(0))[0] > 0:
            extended += bytes(part[1])
        while (ended := client.pgconn.get_result()) is not None:
            assert ended.status == psycopg.pq.ExecStatus.COMMAND_OK, ended.error_message
        assert extended == sent
        assert b"************1234" in sent
        assert not [secret for secret in SECRETS if secret.encode() in sent]
        assert sent.count(b"************1234") == (49 if "id < 50" in copy else 300)
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_copy_comes_back_as_the_rows_that_a_select_shows(masks: Stack) -> None:
    columns = "id, email, pan, born, seen, pay, visits, profile, login, fax, tags, plain"
    admin(masks, f"CREATE TABLE IF NOT EXISTS back AS SELECT {columns} FROM masks WHERE false; TRUNCATE back")
    with connect(masks, "planner") as client:
        shown = client.execute(f"SELECT {columns} FROM masks WHERE id <= 20 ORDER BY id".encode()).fetchall()
        for options in ("", "(FORMAT csv)", "(FORMAT binary)"):
            text = f"COPY (SELECT {columns} FROM masks WHERE id <= 20) TO STDOUT {options}"
            with client.cursor().copy(text.encode()) as reading:
                sent = b"".join(bytes(part) for part in reading)
            with psycopg.connect(
                masks.database.url(DATABASE), user="postgres", password=masks.database.admin_password
            ) as direct:
                with direct.cursor().copy(f"COPY back FROM STDIN {options}".encode()) as writing:
                    writing.write(sent)
                assert direct.execute("SELECT * FROM back ORDER BY id").fetchall() == shown
                direct.rollback()
    admin(masks, "DROP TABLE back")


def test_clients_copy(masks: Stack) -> None:
    done = masks.psql("planner", "\\copy (SELECT pan, plain FROM masks WHERE id < 3 ORDER BY id) TO STDOUT CSV HEADER")
    assert done.stdout.split("\n")[:3] == ["pan,plain", '************1234,"row, 1"', '************1234,"row, 2"']

    async def read() -> bytes:
        host, port = masks.address()
        password = masks.token("planner-3", "planner")
        client = await asyncpg.connect(host=host, port=port, user="planner", password=password, database=DATABASE)
        out = io.BytesIO()
        try:
            assert (
                await client.copy_from_table("masks", columns=["pan", "id"], output=out, format="binary") == "COPY 300"
            )
        finally:
            await client.close()
        return out.getvalue()

    assert asyncio.run(read()).count(b"************1234") == 300


@pytest.mark.parametrize(
    ("copy", "says"),
    [
        ("COPY masks TO STDOUT (NULL '4111111111111234')", "NULL of its own"),
        ("COPY masks TO STDOUT (ENCODING 'LATIN1')", "another encoding"),
        ("COPY (SELECT ascii(pan) / 0 FROM masks) TO STDOUT", "can tell its value"),
        ("COPY (SELECT id FROM masks WHERE pan > '4') TO STDOUT", ""),
        ("COPY masks TO '/tmp/masks'", ""),
    ],
)
def test_copy_that_can_not_be_masked_is_refused_and_says_why(masks: Stack, copy: str, says: str) -> None:
    with connect(masks, "planner") as client:
        with pytest.raises(psycopg.Error) as refused, client.cursor().copy(copy.encode()) as reading:
            pytest.fail(f"sent {b''.join(bytes(part) for part in reading)[:100]!r}")
        assert refused.value.sqlstate == "42501"
        assert says in str(refused.value)
        assert client.execute("SELECT 1").fetchone() == (1,)


async def test_copy_in_a_message_of_several_and_in_a_transaction(masks: Stack) -> None:
    async with raw(masks, "planner") as client:
        for batch in (
            query("SELECT 1; COPY (SELECT pan FROM masks WHERE id < 3) TO STDOUT; SELECT 2"),
            query("BEGIN"),
            query("COPY (SELECT pan FROM masks WHERE id < 3) TO STDOUT"),
            run(b"COPY (SELECT pan FROM masks WHERE id < 3) TO STDOUT") + wire.SYNC,
            query("COMMIT"),
        ):
            frames = await exchange(client, batch)
            sent = [frame[5:] for kind, frame in frames if kind == "d"]
            assert sent == ([] if batch in (query("BEGIN"), query("COMMIT")) else [b"************1234\n"] * 2)


def test_the_key_is_nowhere_but_in_its_file(masks: Stack) -> None:
    places = [path for path in masks.folder.rglob("*") if path.is_file() and "postgresql" not in path.parts]
    holding = [path.name for path in places if KEY.encode() in path.read_bytes()]
    assert holding == ["masking.key"]
    assert any(b'"hash"' in path.read_bytes() for path in places if "audit" in path.parts)


MISFIT = "label pay on public.masks.pay (numeric(12,2)): masker email doesn't fit"


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if words in line)


def write_masking(masks: Stack, text: str) -> None:
    (masks.folder / "policy-data" / "masking.yaml").write_text(text, encoding="utf-8")


def test_a_masker_that_does_not_fit_is_refused_when_policy_is_loaded(masks: Stack) -> None:
    """While it runs, the policy before it stays; at the start, the connection stays closed. Both say what and where."""
    bad = MASKERS.replace("pay: {type: bucket, size: 1000}", "pay: {type: email}")
    assert bad != MASKERS
    try:
        write_masking(masks, bad)
        until(lambda: MISFIT in masks.log_tail(200), what="the refusal")
        assert "policy-refused" in masks.log_tail(200)
        place = re.escape(f"masking.yaml:{line_of(bad, 'pay: ')}, ")
        assert re.search(rf"{place}\S+\.yaml:\d+: {re.escape(MISFIT)}", masks.log_tail(200))
        with connect(masks, "planner") as client:
            assert client.execute("SELECT pay FROM masks WHERE id = 1").fetchone() == (Decimal("123000.00"),)
        masks.stop_twokey()
        masks.start_twokey()
        until(lambda: "policy-masker-misfit" in masks.log_tail(200), what="the error")
        with (
            pytest.raises(psycopg.OperationalError, match="masker email doesn't fit") as refused,
            connect(masks, "planner"),
        ):
            pytest.fail("a session was opened")
        assert "public.masks.pay" in str(refused.value)
        write_masking(masks, MASKERS)
        until(lambda: opens(masks), what="the connection")
    finally:
        write_masking(masks, MASKERS)


def opens(masks: Stack) -> bool:
    try:
        with connect(masks, "planner") as client:
            return client.execute("SELECT pay FROM masks WHERE id = 1").fetchone() == (Decimal("123000.00"),)
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):  # refused at log-in or, just after, still
        return False
