"""What only a store that replicas share must do: wake their waiters, tell them of endings, know who lives where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy.engine import make_url

from decision.cli.demo.database import Database
from decision.errors import StateError, StoreError
from decision.model import Approval, ApprovalState
from decision.store.engine import Store, open_store
from decision.store.postgres import dsn_of
from tests.decision.conftest import conninfo
from tests.decision.store.conftest import Direct
from tests.decision.store.support import ManualClock, draft, session, subject, verdict

PENDING, APPROVED = ApprovalState.PENDING, ApprovalState.APPROVED


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def other(store: Store, url: str, clock: ManualClock) -> AsyncIterator[Store]:
    """A second replica."""
    opened = await open_store(url, clock=clock)
    yield opened
    await opened.close()


async def soon(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - nothing to be woken by: that something is woken is what is tested
            await asyncio.sleep(0.01)


def watching(store: Store, ids: Sequence[str], seen: list[Approval | str]) -> asyncio.Task[None]:
    async def watch() -> None:
        try:
            async for approval in store.approvals.watch(ids):
                seen.append(approval)
        except StateError as error:
            seen.append(error.code)

    return asyncio.ensure_future(watch())


def cut_off(direct: Direct) -> None:
    """Every connection of this test's stores dies, as when the server restarts."""
    direct("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'twokey'")


def states(seen: Sequence[Approval | str]) -> set[ApprovalState]:
    return {one.state for one in seen if isinstance(one, Approval)}


def reviewers(seen: Sequence[Approval | str]) -> set[str]:
    return {each.reviewer.party.name for one in seen if isinstance(one, Approval) for each in one.verdicts}


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_a_waiter_at_another_replica_wakes(store: Store, other: Store, all_of_them: bool) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    seen: list[Approval | str] = []
    task = watching(other, [] if all_of_them else [made.id], seen)
    await soon(lambda: states(seen) == {PENDING})
    await store.approvals.add_verdict(made.id, verdict("bob"))
    await soon(lambda: reviewers(seen) == {"bob"})
    await store.approvals.move(made.id, expect=PENDING, to=APPROVED)
    await soon(lambda: states(seen) == {PENDING, APPROVED})
    task.cancel()


async def test_what_is_rolled_back_is_told_to_nobody(store: Store, other: Store) -> None:
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    seen: list[Approval | str] = []
    task = watching(other, [made.id], seen)
    await soon(lambda: states(seen) == {PENDING})

    async def fails(_: Approval) -> None:
        raise StoreError("no record")

    with pytest.raises(StoreError):
        await store.approvals.add_verdict(made.id, verdict("bob"), record=fails)
    await store.approvals.add_verdict(made.id, verdict("carol"))
    await soon(lambda: reviewers(seen) != set())
    assert reviewers(seen) == {"carol"}
    task.cancel()


async def test_what_changed_while_nobody_listened_is_seen_after_it(
    store: Store, other: Store, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decision.store.listening.RETRY_S", 0.01)
    made, _ = await store.approvals.find_or_create(draft("ses_1"))
    one, all_of_them = list[Approval | str](), list[Approval | str]()
    tasks = [watching(other, [made.id], one), watching(other, [], all_of_them)]
    await soon(lambda: bool(one) and bool(all_of_them))
    ended: list[str] = []
    other.on_ended_elsewhere(lambda sessions, _why: ended.extend(sessions))
    gone = session()
    await store.sessions.open(gone)

    direct("UPDATE approvals SET state = 'withdrawn'", "UPDATE sessions SET closed = 1")  # and nobody tells
    cut_off(direct)
    await soon(lambda: ApprovalState.WITHDRAWN in states(one) and all_of_them[-1] == "SLOW_WATCHER")
    await soon(lambda: gone.id in ended)
    for task in tasks:
        task.cancel()


async def test_a_session_ended_at_one_replica_is_told_at_the_other_only(store: Store, other: Store) -> None:
    here, there = dict[str, str](), dict[str, str]()
    store.on_ended_elsewhere(lambda sessions, why: here.update(dict.fromkeys(sessions, why)))
    other.on_ended_elsewhere(lambda sessions, why: there.update(dict.fromkeys(sessions, why)))
    sessions = [session() for _ in range(3)]
    for one in sessions:
        await store.sessions.open(one)
    await store.sessions.close(sessions[0].id, "by itself", told=False)
    await store.sessions.close(sessions[1].id, "killed" * 40)
    await store.sessions.close(sessions[2].id, "k")
    await soon(lambda: len(there) == 2)
    assert (here, there) == ({}, {sessions[1].id: "killed" * 40, sessions[2].id: "k"})


@pytest.mark.parametrize("fault", ["late", "broken", "unforeseen"])
async def test_an_ending_is_told_whatever_its_reason_does(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    there = dict[str, str]()

    async def why_closed(_sessions: Sequence[str]) -> dict[str, str]:
        if fault == "late":
            await asyncio.sleep(60)
        raise StoreError("gone") if fault == "broken" else RuntimeError("unforeseen")

    monkeypatch.setattr(other.sessions, "why_closed", why_closed)
    other.on_ended_elsewhere(lambda sessions, why: there.update(dict.fromkeys(sessions, why)))
    one = session()
    await store.sessions.open(one)
    await store.sessions.close(one.id, "killed")
    async with asyncio.timeout(1):
        await soon(lambda: there == {one.id: ""})


async def test_an_enforcer_heard_at_one_replica_is_alive_at_all(store: Store, other: Store, clock: ManualClock) -> None:
    one, two = session(enforcer="enf-1"), session(enforcer="enf-2")
    for each in (one, two):
        await store.sessions.open(each)
    for _ in range(15):
        clock.pass_(1)
        await other.sessions.enforcer_seen("enf-1")
        assert await other.sessions.close_silent(seconds=10) in ([], [two.id])
        assert await store.sessions.close_silent(seconds=10) in ([], [two.id])
    live = await store.sessions.list()
    assert [each.id for each in live] == [one.id]
    clock.pass_(10)
    assert await store.sessions.close_silent(seconds=10) == [one.id]
    assert await other.sessions.list() == []


async def test_a_stopped_replica_has_missed_no_sign(store: Store, other: Store, clock: ManualClock) -> None:
    """It wakes after a minute and would find everybody silent, by what it heard itself."""
    one = session(enforcer="enf-1")
    await store.sessions.open(one)
    await store.sessions.close_silent(seconds=10)
    await other.sessions.close_silent(seconds=10)
    clock.pass_(60)
    await other.sessions.enforcer_seen("enf-1")
    assert await other.sessions.close_silent(seconds=10) == []
    assert await store.sessions.close_silent(seconds=10) == []


async def test_time_is_one_for_all_replicas(store: Store, url: str, clock: ManualClock) -> None:
    clock.pass_(3600)
    made, _ = await store.approvals.find_or_create(draft("ses_1", expires_s=60))
    behind = ManualClock()  # an hour
    other = await open_store(url, clock=behind)
    clock.pass_(61)
    await store.approvals.find_or_create(draft("ses_2", "other"))  # the mark moves
    with pytest.raises(StateError) as refused:
        await other.approvals.add_verdict(made.id, verdict("bob"))
    assert refused.value.code == "APPROVAL_EXPIRED"
    await other.close()


async def test_a_writer_kept_waiting_is_an_error_in_time_and_readers_go_on(
    store: Store, url: str, postgres_server: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that was stopped in the middle of a transaction keeps the clock's row."""
    monkeypatch.setattr("decision.store.database.DEADLINE_S", 0.5)
    with closing(psycopg.connect(conninfo(postgres_server))) as stopped:
        stopped.execute(f"SET search_path = {url.rpartition('=')[2]}")
        stopped.execute("SELECT high_water FROM clock FOR UPDATE")
        with pytest.raises(StoreError, match="did not answer"):
            await store.sessions.open(session())
        assert await store.sessions.list() == []
    monkeypatch.undo()
    await store.sessions.open(session())


async def test_no_nul_reaches_the_database_and_nothing_is_found_by_one(store: Store) -> None:
    odd = replace(session(who=subject("a\0b"), enforcer="enf\0"), client_address="\0", close_reason="\0x")
    await store.sessions.open(odd)
    found = await store.sessions.get(odd.id)
    assert found is not None
    assert (found.enforcer, found.client_address, found.close_reason) == ("enf\ufffd", "\ufffd", "\ufffdx")
    assert found.subject == odd.subject
    assert await store.sessions.get(odd.id + "\0") is None
    assert await store.approvals.get("apr_\0") is None
    await store.sessions.enforcer_seen("enf\0")
    assert await store.sessions.close_silent(seconds=10) == []


async def test_a_server_that_is_gone_is_an_error_with_what_to_do(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="can't be reached") as refused:
        await open_store("postgresql://hunter@127.0.0.1:1/twokey")
    assert refused.value.next_step


async def test_the_password_may_come_beside_the_url(url: str, postgres_server: Database) -> None:
    """From a variable or a helper, so that it is in no file. What is wrong with it is told without it."""
    where, _, options = url.partition("?")
    bare = f"{where}?{options.partition('&')[2]}"
    opened = await open_store(bare, password=postgres_server.admin_password)
    assert await opened.sessions.get("ses_none") is None
    await opened.close()
    with pytest.raises(StoreError, match="can't be reached") as refused:
        await open_store(bare, password="hunter2-is-wrong")
    assert "hunter2" not in str(refused.value) + str(refused.value.__cause__)


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://u@db.example.com/twokey", "verify-full"),
        ("postgres://u@10.0.0.1:5432/twokey", "verify-full"),
        ("postgresql://u@/twokey?host=db.example.com", "verify-full"),
        ("postgresql:///twokey", "verify-full"),  # it may come from the environment
        ("postgresql://u@db.example.com/twokey?sslmode=require", "require"),
        ("postgresql://u@127.0.0.1/twokey", None),
        ("postgresql://u@localhost:5433/twokey", None),
        ("postgresql://u@[::1]/twokey", None),
        ("postgresql://u@/twokey?host=/run/postgresql", None),
    ],
)
def test_off_this_machine_the_server_proves_who_it_is(url: str, mode: str | None) -> None:
    assert make_url(dsn_of(make_url(url))).query.get("sslmode") == mode
    assert dsn_of(make_url(url)).startswith("postgresql://")
