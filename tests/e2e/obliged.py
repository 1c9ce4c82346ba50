"""One database behind several connections, each obliged to something else, and what the log says of acts there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg

from decision.cli.demo.stack import CONFIG, Stack
from tests.e2e.clients import admin, until

Client = psycopg.Connection[tuple[object, ...]]

OBLIGED = {
    "rows": "groups: [read, export, write], type: max-rows, parameters: {rows: 5}",
    "all-rows": 'groups: ["*"], type: max-rows, parameters: {rows: 5}',
    "bytes": 'groups: ["*"], type: max-bytes, parameters: {bytes: 3000}',
    "slow": "type: statement-timeout, parameters: {ms: 400}",
    "quiet": "groups: [read], type: read-only",
    "brief": "type: max-duration, parameters: {ms: 600}",
    "why": "groups: [export, write], type: require-reason",
    "still": "groups: [export, write], type: read-only",
}


SESSIONS = {"short": "type: max-duration, parameters: {ms: 1500}", "reading": "type: read-only"}


CONNECTION = """\
  - name: {name}
    kind: postgres
    environment: {environment}
    upstream: {{upstream}}
    credentials:
      default: {{{{user: company_rw, password: {{{{env: COMPANY_RW_PASSWORD}}}}}}}}
"""


# The executor may set its own statement_timeout and transaction mode here: the limits must hold against it.
ROLES = """\
executor:
  connect: true
  grants: {"*": [read, explain, export, write, lock, define, remove, temporary, maintain, rebuild, blocks, control]}
  settings: [harmless, all, names, transaction-mode, tuning, protective]
  functions: any
  opaque: hold
  read_only: false
  statement_timeout_ms: 60000
planner: {connect: false}
reviewer: {connect: false}
auditor: {connect: false}
admin: {connect: false}
policy-author: {connect: false}
"""


TABLES = """
CREATE TABLE many (id int PRIMARY KEY, v text NOT NULL DEFAULT '');
INSERT INTO many SELECT n, repeat('x', 90) FROM generate_series(1, 200) n;
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int NOT NULL REFERENCES parents ON DELETE CASCADE);
CREATE MATERIALIZED VIEW plenty AS SELECT * FROM many;
INSERT INTO parents SELECT generate_series(1, 3);
INSERT INTO children SELECT n, 1 + n % 2 FROM generate_series(1, 40) n;
GRANT ALL ON many, parents, children TO company_rw;
ANALYZE many, parents, children;
"""


def config() -> str:
    names = [(name, "development") for name in (*OBLIGED, *SESSIONS)]
    connections = "".join(CONNECTION.format(name=name, environment=environment) for name, environment in names)
    return CONFIG.replace("store:", connections + "policy: {{data: policy-data}}\nstore:")


def obligations() -> str:
    sessions = "".join(f"  - {{connections: [{name}], {what}}}\n" for name, what in SESSIONS.items())
    acts = "".join(f"  - {{connections: [{name}], {what}}}\n" for name, what in OBLIGED.items())
    return f"session:\n{sessions}act:\n{acts}"


def log(stack: Stack) -> list[dict[str, object]]:
    """The records as they lie on disk: lines of a checksum and canonical JSON."""
    found = []
    for path in sorted((stack.folder / "state" / "audit").glob("*")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            found.append(json.loads(line.partition(b" ")[2]))
    return found


def outcome(stack: Stack, marker: str) -> dict[str, object]:
    """The recorded outcome of the last act whose statement holds the marker."""

    def found() -> dict[str, object] | None:
        records = log(stack)
        operations = {str(record["operation"]) for record in records if marker.encode() in statement_of(record)}
        ends = [r["outcome"] for r in records if r["kind"] == "act" and r["operation"] in operations]
        return ends[-1] if ends and isinstance(ends[-1], dict) else None

    result = until(found, what=f"the record of {marker}")
    assert isinstance(result, dict)
    return result


def statement_of(record: dict[str, object]) -> bytes:
    return base64.b64decode(str(record.get("statement") or _intent(record).get("statement", "")))


def _intent(record: dict[str, object]) -> dict[str, object]:
    intent = record.get("intent")
    return intent if isinstance(intent, dict) else {}


def mark() -> str:
    return f"m{uuid4().hex}"


def count(stack: Stack, condition: str) -> int:
    return int(admin(stack, f"SELECT count(*) FROM many WHERE {condition}"))


def state(stack: Stack) -> str:
    return admin(
        stack,
        "SELECT (SELECT md5(string_agg(m::text, ',' ORDER BY id)) FROM many m), (SELECT count(*) FROM parents),"
        " (SELECT count(*) FROM children)",
    )


def ended(stack: Stack, marker: str) -> bool:
    """Has an act with the marker ended?"""
    records = log(stack)
    operations = {record["operation"] for record in records if marker.encode() in statement_of(record)}
    return any(r["kind"] == "act" and r["outcome"] is not None and r["operation"] in operations for r in records)


def reasons(stack: Stack, marker: str) -> list[str]:
    """What policy was told as the reason, of each question about statements with the marker."""
    found = []
    for record in log(stack):
        question = record.get("input")
        if record["kind"] == "decision" and marker.encode() in statement_of(record) and isinstance(question, dict):
            found.append(str(question["context"]["reason"]))
    return found


def shown(client: Client) -> str:
    """SHOW is harmless, so nothing is set for it."""
    row = client.execute("SHOW statement_timeout").fetchone()
    return str(row[0]) if row else ""


def run(client: Client, statement: str, how: str) -> None:
    if how == "simple":
        client.execute(statement.encode())
    elif how == "extended":
        client.execute(statement.encode(), prepare=True)
    elif how == "in a pipeline":
        with client.pipeline():
            client.execute("UPDATE many SET v = v WHERE id = 1")
            client.execute(statement.encode())
            client.execute("UPDATE many SET v = 'behind' WHERE id = 1")
    else:
        with client.transaction():
            client.execute("UPDATE many SET v = 'before' WHERE id = 1")
            try:
                client.execute(statement.encode())
            except psycopg.Error:
                assert client.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
                raise


def copied(client: Client, statement: str, *, simple: bool) -> bytes:
    """Everything that COPY TO STDOUT sent. simple: as a Query; else by Parse, Bind and Execute."""
    found = b""
    for result in _results(client, statement, simple=simple):
        if result.status == psycopg.pq.ExecStatus.COPY_OUT:
            while True:
                size, data = client.pgconn.get_copy_data(0)
                if size < 0:
                    break
                found += bytes(data)
    return found


def copied_in(client: Client, statement: str, lines: Iterable[bytes], *, simple: bool) -> str:
    """COPY FROM STDIN of these lines; its command tag."""
    tag = ""
    for result in _results(client, statement, simple=simple):
        if result.status == psycopg.pq.ExecStatus.COPY_IN:
            for line in lines:
                client.pgconn.put_copy_data(line)
                client.pgconn.flush()
            client.pgconn.put_copy_end()
        tag = (result.command_status or b"").decode()
    return tag


def _results(client: Client, statement: str, *, simple: bool) -> Iterator[psycopg.pq.abc.PGresult]:
    """Each result of it. Raises the error it ends in, when all of it has been read."""
    raw = client.pgconn
    if simple:
        raw.send_query(statement.encode())
    else:
        raw.send_query_params(statement.encode(), [])
    failed: psycopg.pq.abc.PGresult | None = None
    while (result := raw.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            failed = result
        else:
            yield result
    if failed is not None:
        sqlstate = (failed.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()
        raise psycopg.errors.lookup(sqlstate)(failed.error_message.decode())


@contextmanager
def obliged_stack() -> Iterator[Stack]:
    stack = Stack(config=config())
    data = stack.folder / "policy-data"
    data.mkdir(parents=True)
    (data / "obligations.yaml").write_text(obligations())
    (data / "roles.yaml").write_text(ROLES)
    try:
        stack.start_database()
        admin(stack, TABLES)
        stack.start_twokey()
        yield stack
    finally:
        stack.stop()
