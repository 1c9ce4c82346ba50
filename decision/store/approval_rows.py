"""Approvals and verdicts between rows and model values, and the table of moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError, StoreError
from decision.model import Approval, ApprovalState, Verdict
from decision.ports import ApprovalDraft
from decision.store import tables
from decision.store.clock import from_us, to_us
from decision.store.codec import (
    identity_hash,
    key_hash,
    key_json,
    key_of,
    reasons_json,
    reasons_of,
    strings,
    subject_json,
    subject_of,
)

LIST_LIMIT = 1000
MAX_EXPIRES_S = 10 * 366 * 24 * 3600
SESSION_GRACE_US = 5_000_000  # an outcome may reach us a moment after its session's close

_P = ApprovalState.PENDING
_A = ApprovalState.APPROVED
_R = ApprovalState.REDEEMED
LIVE = (_P.value, _A.value)

# approved -> redeemed is not here: only redeem() goes there.
MOVES: Mapping[ApprovalState, frozenset[ApprovalState]] = {
    _P: frozenset({_A, ApprovalState.DENIED, ApprovalState.EXPIRED, ApprovalState.WITHDRAWN}),
    _A: frozenset({ApprovalState.LAPSED, ApprovalState.WITHDRAWN}),
    _R: frozenset({ApprovalState.OUTCOME_UNKNOWN}),
}

_REFUSALS: Mapping[ApprovalState, tuple[str, str]] = {
    _P: ("APPROVAL_PENDING", "The approval is pending"),
    _A: ("APPROVAL_APPROVED", "The approval is approved already"),
    ApprovalState.DENIED: ("APPROVAL_DENIED", "The approval was denied"),
    ApprovalState.EXPIRED: ("APPROVAL_EXPIRED", "The approval has expired"),
    ApprovalState.LAPSED: ("APPROVAL_EXPIRED", "The approval was given and has expired unused"),
    ApprovalState.WITHDRAWN: ("WITHDRAWN", "The request was withdrawn"),
    _R: ("APPROVAL_REDEEMED", "The approval was used already"),
    ApprovalState.OUTCOME_UNKNOWN: ("OUTCOME_UNKNOWN", "The approval was used; what came of it is not known"),
}


def refusal(state: ApprovalState) -> StateError:
    """A move refused because the approval is in `state`."""
    code, message = _REFUSALS[state]
    return StateError(message, code=code)


async def load(
    connection: AsyncConnection, which: ColumnElement[bool], *, limit: int = LIST_LIMIT
) -> Sequence[Approval]:
    """The newest first, with their verdicts in the order given."""
    approvals, verdicts = tables.approvals, tables.verdicts
    query = select(approvals).where(which).order_by(approvals.c.created.desc(), approvals.c.id.desc()).limit(limit)
    rows = (await connection.execute(query)).all()
    given: dict[str, list[Verdict]] = {row.id: [] for row in rows}
    if rows:
        those = select(verdicts).where(verdicts.c.approval.in_(list(given))).order_by(verdicts.c.number)
        for row in await connection.execute(those):
            given[row.approval].append(_verdict(row))
    return [_approval(row, tuple(given[row.id])) for row in rows]


async def load_one(connection: AsyncConnection, approval: str) -> Approval:
    found = await load(connection, tables.approvals.c.id == approval)
    if not found:
        raise StateError(f"There is no approval {approval}", code="NOT_FOUND")
    return found[0]


async def session_live(connection: AsyncConnection, session: str, now: int) -> bool:
    sessions = tables.sessions
    live = (sessions.c.id == session, sessions.c.closed.is_(None), sessions.c.expires > now)
    return (await connection.execute(select(sessions.c.id).where(*live))).first() is not None


def session_gone(before: int) -> ColumnElement[bool]:
    """A condition: the approval's session was closed by then, or there is none."""
    sessions = tables.sessions
    still = (sessions.c.id == tables.approvals.c.session) & (sessions.c.closed.is_(None) | (sessions.c.closed > before))
    return ~select(sessions.c.id).where(still).exists()


def draft_columns(draft: ApprovalDraft, approval: str, now: int) -> dict[str, object]:
    return {
        "id": approval,
        "state": _P.value,
        "act": key_hash(draft.key),
        "key": key_json(draft.key),
        "requester": subject_json(draft.requester),
        "asker": identity_hash(draft.key.subject),
        "session": draft.session,
        "connection": draft.connection,
        "environment": draft.environment,
        "operation": draft.operation,
        "reasons": reasons_json(draft.reasons),
        "groups": list(draft.groups),
        "quorum": draft.quorum,
        "created": now,
        "expires": now + draft.expires_s * 1_000_000,
        "revision": draft.revision,
    }


def verdict_columns(approval: str, number: int, verdict: Verdict) -> dict[str, object]:
    return {
        "approval": approval,
        "number": number,
        "reviewer": subject_json(verdict.reviewer),
        "approve": verdict.approve,
        "reason": verdict.reason,
        "channel": verdict.channel,
        "time": to_us(verdict.time),
    }


def _verdict(row: Row[*tuple[object, ...]]) -> Verdict:
    return Verdict(
        reviewer=subject_of(row.reviewer),
        approve=row.approve,
        reason=row.reason,
        channel=row.channel,
        time=from_us(row.time),
    )


def _approval(row: Row[*tuple[object, ...]], verdicts: tuple[Verdict, ...]) -> Approval:
    try:
        state = ApprovalState(row.state)
    except ValueError as error:
        raise StoreError(f"A row of the store is not readable: state {row.state!r}") from error
    return Approval(
        id=row.id,
        state=state,
        key=key_of(row.key),
        requester=subject_of(row.requester),
        session=row.session,
        connection=row.connection,
        environment=row.environment,
        operation=row.operation,
        reasons=reasons_of(row.reasons),
        groups=strings(row.groups),
        quorum=row.quorum,
        verdicts=verdicts,
        created=from_us(row.created),
        expires=from_us(row.expires),
        decided=None if row.decided is None else from_us(row.decided),
        execution=row.execution or "",
        revision=row.revision,
    )
