"""Approvals as rows, and every move of their state machine as one compare-and-set in one transaction.

A caller may hand a move its *record*: it is written after the compare-and-set has won and before the commit. A move
that loses is thus never recorded, one whose record fails never happens, and nobody (no watcher, no other process)
sees a state whose record isn't durable. Should the commit itself then fail, the log holds a move that did not happen
and the state stays as it was: the safe side, and the next try records again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from sqlalchemy import ColumnElement, case, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError
from decision.model import ActKey, Approval, ApprovalState, ApprovalTerms, Reason, Verdict, new_id
from decision.ports import ApprovalDraft, Requests
from decision.store import tables
from decision.store.approval_rows import (
    LIST_LIMIT,
    LIVE,
    MAX_EXPIRES_S,
    MOVES,
    SESSION_GRACE_US,
    draft_columns,
    load,
    load_one,
    refusal,
    session_gone,
    session_live,
    verdict_columns,
)
from decision.store.bus import APPROVALS
from decision.store.clock import to_us
from decision.store.codec import key_hash, reasons_json
from decision.store.database import Database
from decision.store.history import APPROVED, Fact, note, unchanged
from decision.store.watch import Watchers

RecordMove: TypeAlias = Callable[[Approval], Awaitable[None]]
RecordMoves: TypeAlias = Callable[[Sequence[Approval]], Awaitable[None]]

MAX_LIVE = 20_000  # pending and approved ones of everybody: a bound on the store; who may ask how often is policy's
HOUR_US = 3_600_000_000
SWEEP_LIMIT = 500  # moves of one sweep; the rest is due in the next one

_approvals = tables.approvals
_verdicts = tables.verdicts
_elements = tables.verdict_closure
_askers = tables.approval_askers


class SqlApprovals:
    """ports.ApprovalStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watchers = Watchers()
        database.bus.hear(APPROVALS, self._watchers.changed, self._watchers.missed)

    async def requests(self, draft: ApprovalDraft) -> Requests | None:
        async def work(connection: AsyncConnection) -> Requests | None:
            now = self._database.clock.now_us()
            alike = [one async for one in _alike(connection, draft, now)]
            return None if alike else await _counted(connection, draft.requester.closure, now)

        return await self._database.read(work)

    async def find_or_create(self, draft: ApprovalDraft, *, seen: Requests | None = None) -> tuple[Approval, bool]:
        if draft.quorum < 1 or not 0 < draft.expires_s <= MAX_EXPIRES_S:
            raise StateError("An approval needs a quorum and an expiry above zero", code="POLICY_INVALID")

        async def work(connection: AsyncConnection, now: int) -> tuple[Approval, bool]:
            usable = await _usable(connection, draft, now)
            if usable is not None:
                await self._tell(connection, [usable.id])
                return usable, False
            await _room(connection, now)
            if seen is not None and _grown(seen, await _counted(connection, draft.requester.closure, now)):
                raise StateError("Something else was asked for meanwhile", code="REQUESTS_CHANGED")
            values = draft_columns(draft, new_id("apr"), now)
            await connection.execute(insert(_approvals).values(values))
            until = now + draft.expires_s * 1_000_000 + HOUR_US
            rows = [{"approval": values["id"], "element": one, "until": until} for one in draft.requester.closure]
            if rows:
                await connection.execute(insert(_askers), rows)
            await self._tell(connection, [str(values["id"])])
            return await load_one(connection, str(values["id"])), True

        approval, new = await self._database.write(work)
        self._watchers.changed([approval.id])
        return approval, new

    async def get(self, approval: str) -> Approval | None:
        async def work(connection: AsyncConnection) -> Approval | None:
            found = await load(connection, _approvals.c.id == approval)
            return found[0] if found else None

        return await self._database.read(work)

    async def list(self, *, include_finished: bool = False) -> Sequence[Approval]:
        """The newest first, at most LIST_LIMIT."""

        async def work(connection: AsyncConnection) -> Sequence[Approval]:
            return await load(connection, true() if include_finished else _approvals.c.state.in_(LIVE))

        return await self._database.read(work)

    async def add_verdict(
        self, approval: str, verdict: Verdict, *, record: RecordMove | None = None, history: int | None = None
    ) -> Approval:
        """A refusing verdict moves the approval to denied in the same transaction."""

        async def work(connection: AsyncConnection, now: int) -> Approval:
            found = await load_one(connection, approval)
            _expect(found, ApprovalState.PENDING, now)
            closure = set(verdict.reviewer.closure)
            if not closure:
                raise StateError("A verdict needs a reviewer with a closure", code="VERDICT_REFUSED")
            given = select(_elements.c.element).where(
                _elements.c.approval == approval, _elements.c.element.in_(closure)
            )
            if (await connection.execute(given)).first() is not None:
                raise StateError("This principal has already given a verdict", code="VERDICT_GIVEN")
            if history is not None:
                await unchanged(connection, verdict.reviewer.closure, history, reviews=True)
            number = len(found.verdicts)
            await connection.execute(insert(_verdicts).values(verdict_columns(approval, number, verdict)))
            rows = [{"approval": approval, "element": one, "number": number} for one in sorted(closure)]
            await connection.execute(insert(_elements), rows)
            if verdict.approve:
                await note(connection, _for_whom(closure, found.requester.closure), now)
            else:
                await _set_state(connection, approval, ApprovalState.PENDING, state="denied", decided=now)
            return await _recorded(connection, approval, record)

        return await self._move(work)

    async def move(
        self, approval: str, *, expect: ApprovalState, to: ApprovalState, record: RecordMove | None = None
    ) -> Approval:
        async def work(connection: AsyncConnection, now: int) -> Approval:
            if to not in MOVES.get(expect, frozenset()):
                raise StateError(f"An approval never goes from {expect} to {to}", code="STATE")
            found = await load_one(connection, approval)
            if to in {ApprovalState.EXPIRED, ApprovalState.LAPSED}:
                if found.state is not expect or to_us(found.expires) > now:
                    raise refusal(found.state)
            elif to is ApprovalState.OUTCOME_UNKNOWN:
                if found.state is not expect or not await _outcome_missing(connection, approval):
                    raise refusal(found.state)
            else:
                _expect(found, expect, now)
            await _set_state(connection, approval, expect, state=to.value, decided=now)
            return await _recorded(connection, approval, record)

        return await self._move(work)

    async def redeem(
        self, approval: str, *, key: ActKey, session: str, execution: str, record: RecordMove | None = None
    ) -> Approval:
        """Also raises StateError REVOKED when that session is closed or expired by now."""
        if not execution:
            raise StateError("A redemption needs an execution id", code="STATE")

        async def work(connection: AsyncConnection, now: int) -> Approval:
            found = await load_one(connection, approval)
            if found.key != key or found.session != session:
                raise StateError("This approval is for another act or another session", code="APPROVAL_MISMATCH")
            _expect(found, ApprovalState.APPROVED, now)
            if not await session_live(connection, session, now):
                raise StateError("The session of this approval has ended", code="REVOKED")
            await _set_state(connection, approval, ApprovalState.APPROVED, state="redeemed", execution=execution)
            return await _recorded(connection, approval, record)

        return await self._move(work)

    async def reopen(
        self, approval: str, *, terms: ApprovalTerms, reasons: Sequence[Reason], record: RecordMove | None = None
    ) -> Approval:
        async def work(connection: AsyncConnection, now: int) -> Approval:
            found = await load_one(connection, approval)
            _expect(found, ApprovalState.APPROVED, now)
            values: dict[str, object] = {"groups": list(terms.groups), "quorum": terms.quorum, "decided": None}
            values["reasons"] = reasons_json(reasons)
            await _set_state(connection, approval, ApprovalState.APPROVED, state="pending", **values)
            return await _recorded(connection, approval, record)

        return await self._move(work)

    async def answered(self) -> Sequence[str]:
        pending = (_approvals.c.state == ApprovalState.PENDING.value, _verdicts.c.approval == _approvals.c.id)

        async def work(connection: AsyncConnection) -> Sequence[str]:
            query = select(_approvals.c.id).where(*pending).distinct().limit(LIST_LIMIT)
            return list((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def finished(self, execution: str) -> None:
        """An execution that is not known, or was finished before, changes nothing."""

        async def work(connection: AsyncConnection, now: int) -> None:
            which = (_approvals.c.execution == execution, _approvals.c.finished.is_(None))
            await connection.execute(update(_approvals).where(*which).values(finished=now))

        await self._database.write(work)

    def changed(self, approvals: Sequence[str]) -> None:
        """Something else has changed these."""
        self._watchers.changed(approvals)

    async def sweep(self, *, record: RecordMoves | None = None) -> Sequence[Approval]:
        async def work(connection: AsyncConnection, now: int) -> Sequence[Approval]:
            due = _approvals.c.expires <= now
            state = _approvals.c.state
            gone = session_gone(now - SESSION_GRACE_US)
            unknown = (state == ApprovalState.REDEEMED.value) & _approvals.c.finished.is_(None) & gone
            moved = [
                *await _sweep_to(connection, "expired", ApprovalState.PENDING, due, now),
                *await _sweep_to(connection, "lapsed", ApprovalState.APPROVED, due, now),
                *await _sweep_to(connection, "outcome-unknown", ApprovalState.REDEEMED, unknown, now),
            ]
            await self._tell(connection, [one.id for one in moved])
            if moved and record is not None:
                await record(moved)
            return moved

        moved = await self._database.write(work)
        self._watchers.changed(one.id for one in moved)
        return moved

    async def watch(self, ids: Sequence[str]) -> AsyncIterator[Approval]:
        """Raises StateError SLOW_WATCHER when 256 approvals have changed unread, NOT_FOUND for an unknown id."""
        with self._watchers.watching(ids) as watcher:
            for approval in ids:
                yield await self._now(approval)
            if not ids:
                for one in await self.list():
                    yield one
            while True:
                yield await self._now(await watcher.next())

    async def _now(self, approval: str) -> Approval:
        found = await self.get(approval)
        if found is None:
            raise StateError(f"There is no approval {approval}", code="NOT_FOUND")
        return found

    async def _move(self, work: Callable[[AsyncConnection, int], Awaitable[Approval]]) -> Approval:
        async def told(connection: AsyncConnection, now: int) -> Approval:
            moved = await work(connection, now)
            await self._tell(connection, [moved.id])
            return moved

        approval = await self._database.write(told)
        self._watchers.changed([approval.id])
        return approval

    async def _tell(self, connection: AsyncConnection, approvals: Sequence[str]) -> None:
        await self._database.bus.tell(connection, APPROVALS, approvals)


def _for_whom(reviewer: Iterable[str], requester: Iterable[str]) -> list[Fact]:
    """Whoever is behind the reviewer has approved something for whoever is behind the request."""
    return [Fact(one, APPROVED, other, "") for one in sorted(set(reviewer)) for other in sorted(set(requester))]


async def _alike(connection: AsyncConnection, draft: ApprovalDraft, now: int) -> AsyncIterator[Approval]:
    """The live approvals for the draft's act that its session may use: its own first, then an approved one."""
    alike = (_approvals.c.act == key_hash(draft.key)) & _approvals.c.state.in_(LIVE) & (_approvals.c.expires > now)
    found = [one for one in await load(connection, alike) if one.key == draft.key]
    found.sort(key=lambda one: (one.session != draft.session, one.state is not ApprovalState.APPROVED))
    for one in found:
        if one.session == draft.session or not await session_live(connection, one.session, now):
            yield one


async def _usable(connection: AsyncConnection, draft: ApprovalDraft, now: int) -> Approval | None:
    """The first of them, bound to the draft's session."""
    for one in [one async for one in _alike(connection, draft, now)]:
        if one.session == draft.session:
            return one
        which = (_approvals.c.id == one.id, _approvals.c.session == one.session, _approvals.c.state == one.state.value)
        bound = await connection.execute(update(_approvals).where(*which).values(session=draft.session))
        if bound.rowcount == 1:
            return await load_one(connection, one.id)
    return None


async def _counted(connection: AsyncConnection, closure: Sequence[str], now: int) -> Requests:
    """What everyone of this closure together has asked for."""
    theirs = select(_askers.c.approval).where(_askers.c.element.in_(list(closure)), _askers.c.until > now)
    live = _approvals.c.state.in_(LIVE) & (_approvals.c.expires > now)
    recent = _approvals.c.created > now - HOUR_US
    refused = (_approvals.c.state == ApprovalState.DENIED.value) & (_approvals.c.decided > now - HOUR_US)
    sums = [func.coalesce(func.sum(case((one, 1), else_=0)), 0) for one in (live, recent, refused)]
    row = (await connection.execute(select(*sums).where(_approvals.c.id.in_(theirs)))).one()
    return Requests(*(int(number) for number in row))


def _grown(seen: Requests, now: Requests) -> bool:
    return now.live > seen.live or now.hour > seen.hour or now.refused > seen.refused


async def _room(connection: AsyncConnection, now: int) -> None:
    live = (_approvals.c.state.in_(LIVE), _approvals.c.expires > now)
    if (await connection.execute(select(func.count()).where(*live))).scalar_one() >= MAX_LIVE:
        raise StateError(
            f"{MAX_LIVE} approvals are open already",
            code="APPROVAL_LIMIT",
            next_step="Have some decided or withdrawn, or wait until they expire",
        )


def _expect(found: Approval, state: ApprovalState, now: int) -> None:
    if found.state is not state:
        raise refusal(found.state)
    if to_us(found.expires) <= now:
        raise refusal(ApprovalState.EXPIRED)


async def _set_state(connection: AsyncConnection, approval: str, expect: ApprovalState, **values: object) -> None:
    which = (_approvals.c.id == approval, _approvals.c.state == expect.value)
    changed = await connection.execute(update(_approvals).where(*which).values(**values))
    if changed.rowcount != 1:
        raise refusal((await load_one(connection, approval)).state)


async def _recorded(connection: AsyncConnection, approval: str, record: RecordMove | None) -> Approval:
    moved = await load_one(connection, approval)
    if record is not None:
        await record(moved)
    return moved


async def _outcome_missing(connection: AsyncConnection, approval: str) -> bool:
    query = select(_approvals.c.finished).where(_approvals.c.id == approval)
    return (await connection.execute(query)).scalar_one() is None


async def _sweep_to(
    connection: AsyncConnection, to: str, expect: ApprovalState, due: ColumnElement[bool], now: int
) -> Sequence[Approval]:
    found = await load(connection, (_approvals.c.state == expect.value) & due, limit=SWEEP_LIMIT)
    for one in found:
        await _set_state(connection, one.id, expect, state=to, decided=now)
    return await load(connection, _approvals.c.id.in_([one.id for one in found])) if found else []
