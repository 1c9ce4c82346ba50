"""Who may see and end which sessions, over the real service, real OPA and the shipped policy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from twokey.decision.v1 import decision_pb2

from decision.errors import StoreError
from decision.model import Session
from tests.decision.running import Running, operation, running
from tests.decision.test_app import records, refused


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def listed(
    run: Running, who: str, *roles: str, everything: bool = False, actors: tuple[str, ...] = ()
) -> set[str]:
    request = decision_pb2.ListSessionsRequest(all=everything)
    answer = await run.decision.ListSessions(request, metadata=run.bearer(who, *roles, actors=actors), timeout=10)
    return {session.id for session in answer.sessions}


def kill(run: Running, session: str, who: str, *roles: str, actors: tuple[str, ...] = (), reason: str = "") -> Any:
    request = decision_pb2.RevokeRequest(session=session, reason=reason)
    return run.decision.Revoke(request, metadata=run.bearer(who, *roles, actors=actors), timeout=10)


async def test_who_sees_which_sessions(run: Running) -> None:
    """alice owns executor-7, bob planner-3."""
    executor, planner = await run.session("executor-7", "executor"), await run.session("planner-3", "planner")
    carol = await run.session("carol", "planner")
    for role in ("admin", "auditor"):
        assert await listed(run, "carol", role) == {executor, planner, carol}
    assert await listed(run, "alice", "reviewer") == {executor}
    assert await listed(run, "bob", "planner") == {planner}
    assert await listed(run, "carol", "policy-author") == {carol}
    # Somebody acting for alice has not what alice has.
    for who, actors in (("executor-7", ()), ("alice", ("planner-3",)), ("alice", ("carol",))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await listed(run, who, "planner", actors=actors)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_who_ends_which_sessions(run: Running) -> None:
    executor, planner = await run.session("executor-7", "executor"), await run.session("planner-3", "planner")
    for who, role, actors in (
        ("alice", "auditor", ()),  # an auditor sees all and ends their own
        ("carol", "reviewer", ()),
        ("planner-3", "planner", ()),
        ("bob", "planner", ("planner-3",)),
    ):
        assert (await refused(kill(run, planner, who, role, actors=actors)))[1] == "CALL_DENIED"
    (last,) = [one for one in await records(run, "call-denied") if one.get("session") == planner][-1:]
    assert last["input"]["context"]["sessions"][0]["closure"] == ["bob", "planner-3"]
    assert await listed(run, "carol", "admin") == {executor, planner}

    assert (await kill(run, executor, "alice", "reviewer", reason="mine")).sessions == 1
    assert (await kill(run, executor, "alice", "reviewer")).sessions == 0
    assert (await kill(run, planner, "carol", "admin")).sessions == 1
    assert [
        (one["session"], one["how"], one["reason"], one["by"]["subject"]["name"]) for one in await closings(run)
    ] == [
        (executor, "revoked", "mine", "alice"),
        (planner, "revoked", "revoked", "carol"),
    ]
    assert (await run.decide(executor, operation("SELECT 1", "select"))).decision.reason_code == "REVOKED"
    assert await listed(run, "carol", "admin") == set()
    assert await listed(run, "bob", "planner", everything=True) == {planner}


async def closings(run: Running) -> list[dict[str, Any]]:
    return await records(run, "session-closed")


@pytest.mark.parametrize(
    ("session", "reason", "code"),
    [
        ("ses_" + "a" * 26, "", "NOT_FOUND"),
        ("", "", "INVALID_REQUEST"),
        ("ses_" + "a" * 300, "", "INVALID_REQUEST"),
        ("x", "", "INVALID_REQUEST"),
        ("ses_" + "a" * 26, "x" * 257, "INVALID_REQUEST"),
    ],
)
async def test_what_is_no_session_is_said(run: Running, session: str, reason: str, code: str) -> None:
    assert (await refused(kill(run, session, "carol", "admin", reason=reason)))[1] == code
    assert await closings(run) == []


async def test_a_kill_that_the_service_did_not_live_to_tell_is_told_after_its_restart(tmp_path: Path) -> None:
    """The enforcer was away when it was said, and the service gone before it came back: it hears of it all the same."""
    async with running(tmp_path) as first:
        session = await first.session("executor-7", "executor")
        other = await first.session("planner-3", "planner")
        assert (await kill(first, session, "carol", "admin")).sessions == 1
    async with running(tmp_path) as again:
        watching = again.decision.WatchRevocations(
            decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=again.enforcer, timeout=20
        )
        told: set[str] = set()
        while session not in told:
            told |= set((await watching.read()).revoked_sessions)
        watching.cancel()
        assert other not in told


async def test_a_kill_cuts_also_while_the_store_fails_but_nobody_elses(run: Running) -> None:
    """Whose it is can't be known then: only who may end anybody's session is let through, and it is cut at once."""
    session = await run.session("executor-7", "executor")
    watching = run.decision.WatchRevocations(
        decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=run.enforcer, timeout=20
    )
    await watching.read()
    store: Any = run.service.sessions._store  # a fault injected below every port
    works_get, works_close = store.get, store.close

    async def broken(*_: object, **__: object) -> Session:
        raise StoreError("the disk is gone")

    store.get = store.close = broken
    try:
        assert (await refused(kill(run, session, "alice", "reviewer")))[1] == "CALL_DENIED"
        assert (await refused(kill(run, session, "carol", "admin")))[1] == "DECISION_UNAVAILABLE"
    finally:
        store.get, store.close = works_get, works_close
    while not (message := await watching.read()).revoked_sessions:
        pass
    assert list(message.revoked_sessions) == [session]
    watching.cancel()
    assert (await run.decide(session, operation("SELECT 1", "select"))).decision.reason_code == "REVOKED"
    # Said again once the store is back, it is noted and recorded.
    assert (await kill(run, session, "carol", "admin")).sessions == 1
    assert json.dumps(await closings(run)).count("carol") >= 1
