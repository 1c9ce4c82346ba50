from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from decision.errors import StateError, StoreError
from decision.model import ApprovalState
from decision.store.engine import Store, open_store
from decision.store.tables import metadata
from tests.decision.store.conftest import Direct
from tests.decision.store.support import ManualClock, draft, session, subject, verdict

ROOT = Path(__file__).parents[3]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def test_the_file_and_folder_are_for_the_owner_only(file_store: Store, file_url: str) -> None:
    await file_store.sessions.open(session())
    path = file_of(file_url)
    assert mode(path.parent) == 0o700
    assert {one.name: mode(one) for one in path.parent.iterdir()} == {
        "twokey.db": 0o600,
        "twokey.db-wal": 0o600,
        "twokey.db-shm": 0o600,
    }


async def test_a_file_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    store = await open_store(f"sqlite:///{path}")
    await store.close()
    assert mode(path) == 0o600


async def test_sqlite_is_set_up_to_keep_what_it_acknowledges(file_store: Store) -> None:
    async with file_store._database._reader.connect() as connection:
        found = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_a_relative_url_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///state/twokey.db")
    await store.close()
    assert (tmp_path / "state" / "twokey.db").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:hunter2@db/twokey", "holds a password"),
        ("postgresql://u@db/twokey?password=hunter2", "holds a password"),
        ("postgresql://hunter2@db/", "names no database"),
        ("postgresql+asyncpg://u:hunter2@db/twokey", "only a file"),
        ("mysql://u:hunter2@db/twokey", "only a file"),
        ("sqlite://", "only a file"),
        ("sqlite:///:memory:", "only a file"),
        ("sqlite:///a.db?mode=memory&password=hunter2", "only a file"),
        ("hunter2", "not a URL"),
    ],
)
async def test_other_urls_are_refused_without_repeating_them(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as refused:
        await open_store(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.next_step


async def test_the_migrations_make_the_schema_the_code_uses(store: Store) -> None:
    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store._database._reader.connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_sessions_opened_before_their_kinds_were_stored_are_found(
    url: str, clock: ManualClock, direct: Direct
) -> None:
    store = await open_store(url, clock=clock)
    two = [session(), session(who=subject("c", closure=("carol",)))]
    for one in two:
        await store.sessions.open(one)
    await store.close()
    direct(  # as 0001 made it
        "CREATE TABLE old AS SELECT session, element FROM session_closure",
        "DROP TABLE session_closure",
        "CREATE TABLE session_closure (session VARCHAR(64) NOT NULL REFERENCES sessions (id),"
        " element TEXT NOT NULL, PRIMARY KEY (session, element))",
        "CREATE INDEX ix_session_closure_element ON session_closure (element)",
        "INSERT INTO session_closure SELECT * FROM old",
        "DROP TABLE old",
        "DROP TABLE enforcer_signs",
        "DROP TABLE closure_acts",
        "DROP TABLE derived_labels",
        "DROP TABLE budget_units",
        "DROP TABLE proofs",
        "DROP TABLE credentials",
        "DROP TABLE cutoffs",
        "DROP TABLE descents",
        "DROP TABLE approval_askers",
        "DROP TABLE web_sessions",
        "DROP TABLE web_logins",
        "DROP TABLE executions",
        "DROP TABLE plans",
        "ALTER TABLE sessions DROP COLUMN plan",
        "UPDATE alembic_version SET version_num = '0001'",
    )
    again = await open_store(url, clock=clock)
    found = await again.sessions.live_of_closure(two[0].subject.closure)
    assert found.sessions == (two[0],)
    third = session()
    with pytest.raises(StateError):
        await again.sessions.open(third, seen=[])
    await again.sessions.open(third, seen=found.kinds)
    assert await again.sessions.close(two[0].id, "")
    found = await again.sessions.live_of_closure(third.subject.closure)
    assert found.sessions == (third,)
    await again.close()


async def test_a_newer_schema_is_refused_and_left_alone(file_store: Store, file_url: str) -> None:
    await file_store.close()
    with sqlite3.connect(file_of(file_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file_of(file_url).read_bytes()
    with pytest.raises(StoreError, match="newer twokey"):
        await open_store(file_url)
    assert file_of(file_url).read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, longer than a header is" * 100)
    with pytest.raises(StoreError, match="not a database"):
        await open_store(f"sqlite:///{tmp_path}/x.db")


async def test_a_folder_in_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        await open_store(f"sqlite:///{tmp_path}")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be opened"):
        await open_store(f"sqlite:///{tmp_path}/file/twokey.db")


async def test_what_is_not_our_own_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="not a file of this user's own"):
        await open_store(f"sqlite:///{tmp_path}/pipe")
    (tmp_path / "planted.db").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreError, match="not a file of this user's own"):
        await open_store(f"sqlite:///{tmp_path}/planted.db")


async def test_two_open_a_new_store_at_once(url: str) -> None:
    stores = await asyncio.gather(*(open_store(url) for _ in range(4)))
    for index, one in enumerate(stores):
        await one.sessions.open(session(enforcer=f"enf-{index}"))
    assert len(await stores[0].sessions.list()) == 4
    for one in stores:
        await one.close()


async def test_another_that_opens_it_at_this_moment_is_waited_for(file_url: str) -> None:
    """Its own timeout isn't for that: while another writes to a new file, SQLite refuses the switch to WAL at once."""
    path = file_of(file_url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = sqlite3.connect(path, timeout=5, isolation_level=None)
    with closing(one), pytest.raises(sqlite3.OperationalError, match="locked"):
        one.execute("PRAGMA journal_mode=WAL")
    opening = asyncio.ensure_future(open_store(file_url))
    await asyncio.sleep(0.3)
    assert not opening.done()
    other.execute("ROLLBACK")
    other.close()
    store = await asyncio.wait_for(opening, 10)
    await store.sessions.open(session())
    await store.close()


async def test_a_closed_store_raises_store_error(store: Store) -> None:
    await store.close()
    await store.close()
    calls = [
        store.sessions.open(session()),
        store.sessions.get("ses_x"),
        store.sessions.close("ses_x", ""),
        store.sessions.list(),
        store.sessions.live_of_closure(["alice"]),
        store.sessions.close_silent(seconds=1),
        store.approvals.find_or_create(draft("ses_x")),
        store.approvals.get("apr_x"),
        store.approvals.list(),
        store.approvals.add_verdict("apr_x", verdict("bob")),
        store.approvals.move("apr_x", expect=ApprovalState.PENDING, to=ApprovalState.DENIED),
        store.approvals.redeem("apr_x", key=draft("s").key, session="s", execution="exe_1"),
        store.approvals.finished("exe_1"),
        store.approvals.sweep(),
        anext(store.approvals.watch([])),
    ]
    for call in calls:
        with pytest.raises(StoreError):
            await call


async def test_a_store_locked_by_another_process_is_an_error_in_time(
    file_store: Store, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decision.store.database.DEADLINE_S", 0.2)
    blocker = sqlite3.connect(file_of(file_url), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="did not answer"):
            await file_store.sessions.open(session())
        assert await file_store.sessions.list() == []  # readers go on
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    monkeypatch.undo()
    await file_store.sessions.open(session())
    assert len(await file_store.sessions.list()) == 1


async def test_a_table_that_is_gone_is_a_store_error(store: Store, direct: Direct) -> None:
    direct("DROP TABLE session_closure")
    with pytest.raises(StoreError) as error:
        await store.sessions.open(session())
    assert "127.0.0.1:50000" not in str(error.value)  # no parameters in the message
    assert await store.sessions.list() == []


@pytest.mark.parametrize("column", ["key", "requester", "reasons", "groups", "state"])
@pytest.mark.parametrize("text", ['"x"', "{", "null", '{"party": 7}', "[1]"])
async def test_an_unreadable_row_is_a_store_error(
    store: Store, url: str, direct: Direct, column: str, text: str
) -> None:
    approval, _ = await store.approvals.find_or_create(draft("ses_1"))
    if text == "{" and column != "state" and url.startswith("postgresql"):
        return  # no JSON: PostgreSQL doesn't let it in
    direct(f'UPDATE approvals SET "{column}" = ?', parameters=(text,))
    with pytest.raises(StoreError):
        await store.approvals.get(approval.id)


FULL = """
import asyncio, resource, sys
from decision.errors import StoreError
from decision.store.engine import open_store
from tests.decision.store.conftest import Direct
from tests.decision.store.support import draft, subject
async def main():
    store = await open_store(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    good = []
    try:
        for n in range(1000):
            approval, _ = await store.approvals.find_or_create(draft("ses_1", "x" * 5000, who=subject(str(n))))
            good.append(approval.id)
    except StoreError as error:
        print("ERROR", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    print("GET", (await store.approvals.get(good[0])).state)
    print("GOOD", *good)
asyncio.run(main())
"""


async def test_a_full_disk_is_an_error_and_loses_nothing(file_url: str) -> None:
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FULL, file_url], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    lines = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert "can't be read or written" in lines["ERROR"], ran.stderr
    assert lines["GET"] == "pending"
    store = await open_store(file_url)
    found = {one.id for one in await store.approvals.list()}
    await store.close()
    assert set(lines["GOOD"].split()) <= found
    assert 3 < len(found) < 1000


KILLED = """
import asyncio, sys
from decision.model import ApprovalState
from decision.store.engine import open_store
from tests.decision.store.conftest import Direct
from tests.decision.store.support import act, draft, session, verdict
from datetime import datetime, UTC
async def main():
    store = await open_store(sys.argv[1])
    n = 0
    while True:
        one = session(opened=datetime.now(UTC))
        await store.sessions.open(one)
        print("session", one.id, flush=True)
        made, _ = await store.approvals.find_or_create(draft(one.id, str(n)))
        print("pending", made.id, flush=True)
        await store.approvals.add_verdict(made.id, verdict("bob"))
        print("verdict", made.id, flush=True)
        await store.approvals.move(made.id, expect=ApprovalState.PENDING, to=ApprovalState.APPROVED)
        print("approved", made.id, flush=True)
        await store.approvals.redeem(made.id, key=act(str(n)), session=one.id, execution=f"exe_{n}")
        print("redeemed", made.id, flush=True)
        n += 1
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [7, 23, 60])
async def test_what_was_acknowledged_survives_kill_9(url: str, lines: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = []
    async with asyncio.timeout(60):
        for _ in range(lines):
            acknowledged.append((await process.stdout.readline()).decode().split())
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [line.split() for line in (await process.stdout.read()).decode().splitlines()]
        await process.wait()
    store = await open_store(url)
    steps = ["pending", "verdict", "approved", "redeemed"]
    for what, thing in acknowledged:
        if what == "session":
            assert await store.sessions.get(thing) is not None
            continue
        found = await store.approvals.get(thing)
        assert found is not None
        reached = "verdict" if found.state == "pending" and found.verdicts else found.state.value
        assert steps.index(reached) >= steps.index(what)
        if reached == "redeemed":
            with pytest.raises(StateError):
                await store.approvals.redeem(thing, key=found.key, session=found.session, execution="exe_again")
    await store.close()


async def test_the_high_water_mark_survives_a_restart_with_the_clock_set_back(store: Store, url: str) -> None:
    clock = store._database.clock._clock
    assert isinstance(clock, ManualClock)
    made, _ = await store.approvals.find_or_create(draft("ses_1", expires_s=60))
    clock.pass_(61)
    with pytest.raises(StateError) as refused:
        await store.approvals.add_verdict(made.id, verdict("bob"))
    assert refused.value.code == "APPROVAL_EXPIRED"
    await store.close()
    earlier = ManualClock()
    earlier.set_wall(-7200)
    again = await open_store(url, clock=earlier)
    with pytest.raises(StateError) as refused:
        await again.approvals.add_verdict(made.id, verdict("bob"))
    assert refused.value.code == "APPROVAL_EXPIRED"
    fresh, new = await again.approvals.find_or_create(draft("ses_1", expires_s=60))
    assert new
    assert fresh.id != made.id
    assert fresh.created >= made.expires
    # Time goes on although the wall clock is behind: what is made now expires too.
    earlier.pass_(61)
    assert {one.id for one in await again.approvals.sweep()} == {made.id, fresh.id}
    await again.close()
