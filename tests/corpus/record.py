"""Records what real clients say to PostgreSQL, directly: `python -m tests.corpus.record [CLIENT …]`.

Each is played on a database of the field with the account that may only read; what it said is kept in
traffic/VERSION/CLIENT.json. Record again when a client or the schema is a new one; needs `make clients`.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.clients.recorder import Tap, client_messages
from tests.corpus.field import READER, Field
from tests.corpus.link import Place
from tests.corpus.traffic import FOLDER, Oids, written
from tools.clients import folder, pgjdbc

PLAYERS = Path(__file__).with_name("players")
_PSQL = r"""
\d \d+ \dt \dt+ \di+ \ds+ \dv+ \dm+ \df \df+ \dT+ \dD+ \dn+ \du+ \l+ \dp \ddp \dO+ \dx \dx+ \des+ \det+
\dew+ \deu \dP+ \dPt+ \dRp+ \dRs \dy \da \dA+ \db+ \dc \dC \dd \dE+ \dF+ \dFd+ \dFp \dFt \dL+ \do \drds \dX
\dl \dAc \dAf \dAo \dAp \drg
"""
_NAMED = r"""
\d patients|\d+ patients|\d shop.orders|\d+ shop.orders|\d+ shop.products|\d+ shop.customers|\d+ shop.log
\d+ shop.log_2026|\d+ shop.sales|\d+ shop.monthly|\d+ events|\d+ staff|\d+ doctors|\d+ v_plain|\d m_plain
\d pg_class|\d shop.orders_placed|\d shop.customers_id_seq|\d other.patients|\dt shop.*|\dt *.*|\d+ digests
\df shop.*|\df+ shop.touch|\sf shop.touch|\sf+ shop.price_of|\sv shop.sales|\sv v_over|\dT+ shop.*
\dT address|\dp shop.*|\dp patients|\dv *.v_*|\di shop.*|\dS pg_cl*|\z patients|\dx+ pg_trgm
\l a|\dn shop|\du reader|\do =|\dC+ text|\d nothing|\dt no*thing|\conninfo|\encoding
SELECT id, name FROM patients ORDER BY id|SELECT id, name FROM patients \gdesc|SELECT 1 AS one \gset
TABLE wards \crosstabview id name|\copy wards TO STDOUT|\copy (SELECT id FROM wards) TO STDOUT CSV
"""
_TABS = (
    "SELECT * FROM ", "SELECT * FROM pat", "SELECT * FROM shop.", "SELECT * FROM shop.o", "\\d ", "\\d shop.",
    "\\df ", "\\dn ", "\\dT ", "\\du ", "\\l ", "\\sv ", "\\sf ", "\\dv ", "\\di ", "\\dm ", "\\ds ", "\\dt sh",
    "\\c ", "UPDATE ", "INSERT INTO ", "DELETE FROM ", "ALTER TABLE ", "ALTER TABLE patients ALTER ", "DROP VIEW ",
    "COPY ", "SELECT * FROM patients WHERE ", "SET ", "SHOW ", "SET search_path TO ", "GRANT SELECT ON ",
    "COMMENT ON COLUMN patients.", "ANALYZE ", "TABLE ", "REFRESH MATERIALIZED VIEW ", "ALTER TYPE ",
    "ALTER FUNCTION ", "CREATE INDEX ON ", "DROP EXTENSION ", "SELECT current_sch", "LISTEN ",
    "SET SESSION AUTHORIZATION ", "VACUUM ", "LOCK ", "ALTER TABLE shop.orders DROP CONSTRAINT ", "REINDEX INDEX ",
    "MERGE INTO ", "CALL ", "CREATE TRIGGER x BEFORE INSERT ON ",
)  # fmt: skip


class Studio:
    """A field, and a tap before its database."""

    def __init__(self, field: Field) -> None:
        self.field = field
        with field.link(field.direct("a")) as link:
            self.oids = Oids(link)

    def binary(self, name: str) -> str:
        return str(self.field.stack.database.psql.with_name(name))

    def environment(self, port: int) -> dict[str, str]:
        return {
            **Place(port, READER, self.field.stack.passwords["company_ro"], "a").environment(),
            "PSQL_HISTORY": "/dev/null",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TERM": "xterm",
        }

    def record(self, name: str, play: Callable[[Studio, dict[str, str]], None]) -> None:
        with Tap(("127.0.0.1", self.field.stack.database.port)) as tap:
            play(self, self.environment(tap.port))
        sessions = [
            written(list(client_messages(bytes(conversation.client))), self.oids)
            for conversation in tap.recording.conversations
        ]
        sessions = [session for session in sessions if session]
        path = FOLDER / str(self.field.version) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(sessions, ensure_ascii=True, indent=0) + "\n", encoding="utf-8")
        sys.stdout.write(
            f"{name}: {len(sessions)} sessions, {sum(map(len, sessions))} batches, {path.stat().st_size} bytes\n"
        )


def _run(command: list[str], environment: dict[str, str], *, given: str | None = None) -> None:
    done = subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])


def psql(studio: Studio, environment: dict[str, str]) -> None:
    commands = [*_PSQL.split(), *_NAMED.strip().replace("\n", "|").split("|")]
    lines = [each if each.startswith("\\") or "\\" in each else f"{each};" for each in commands]
    _run([studio.binary("psql"), "-X", "-P", "pager=off"], environment, given="\n".join(lines) + "\n")


def completion(studio: Studio, environment: dict[str, str]) -> None:
    """psql on a terminal, and a Tab behind each beginning."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(studio.binary("psql"), ["psql", "-X", "-P", "pager=off"], environment)
    _drain(terminal, 1.0)
    for text in _TABS:
        os.write(terminal, text.encode() + b"\t\t")
        _drain(terminal, 0.25)
        os.write(terminal, b"\x15")
        _drain(terminal, 0.05)
    os.write(terminal, b"\\q\n")
    _drain(terminal, 0.5)
    os.close(terminal)
    os.waitpid(pid, 0)


def _drain(terminal: int, seconds: float) -> None:
    """What it shows; a pager's question is answered."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                shown = os.read(terminal, 65536)
            except OSError:
                return
            if b"--More--" in shown or b"possibilities" in shown:
                os.write(terminal, b"n")


def dump(studio: Studio, environment: dict[str, str]) -> None:
    for options in (["-n", "shop"], ["-n", "other", "--inserts"], ["--schema-only", "-n", "shop"], ["-t", "wards"]):
        _run([studio.binary("pg_dump"), *options], environment)


def python(name: str) -> Callable[[Studio, dict[str, str]], None]:
    return lambda _studio, environment: _run([sys.executable, str(PLAYERS / f"{name}.py")], environment)


def java(_studio: Studio, environment: dict[str, str]) -> None:
    _run(["java", "-cp", str(pgjdbc()), str(PLAYERS / "Look.java")], environment)


def node(_studio: Studio, environment: dict[str, str]) -> None:
    script = folder("node") / "look.mjs"
    script.write_text((PLAYERS / "look.mjs").read_text(encoding="utf-8"), encoding="utf-8")
    try:
        _run(["node", str(script)], environment)
    finally:
        script.unlink()


CLIENTS: dict[str, Callable[[Studio, dict[str, str]], None]] = {
    "psql": psql,
    "completion": completion,
    "pg_dump": dump,
    "sqlalchemy": python("sqlalchemy_look"),
    "django": python("django_look"),
    "psycopg": python("psycopg_look"),
    "asyncpg": python("asyncpg_look"),
    "jdbc": java,
    "node": node,
}


def main() -> int:
    with Field() as field:
        studio = Studio(field)
        for name in sys.argv[1:] or CLIENTS:
            studio.record(name, CLIENTS[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
