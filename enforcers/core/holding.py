"""Waiting for a verdict, and taking a question back. An approval is never assumed: only STATE_APPROVED is one."""

from __future__ import annotations

import asyncio
import time

import structlog
from twokey.approval.v1 import approval_pb2

from enforcers.core.decision_client import CallRefusedError, DecisionClient
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.ports import Hold, HoldEnd, HoldResult
from enforcers.core.revocations import Revocations

LOST_SECONDS = 5.0  # without the service, after which a held operation is given up
RETRY_SECONDS = 0.2
WITHDRAW_PATIENCE = 5.0

log = structlog.get_logger("twokey.enforcers.holding")

_ENDS = {
    approval_pb2.STATE_APPROVED: HoldEnd.APPROVED,
    approval_pb2.STATE_DENIED: HoldEnd.DENIED,
    approval_pb2.STATE_EXPIRED: HoldEnd.EXPIRED,
    approval_pb2.STATE_LAPSED: HoldEnd.EXPIRED,
    approval_pb2.STATE_WITHDRAWN: HoldEnd.WITHDRAWN,
    approval_pb2.STATE_REDEEMED: HoldEnd.DENIED,
    approval_pb2.STATE_OUTCOME_UNKNOWN: HoldEnd.DENIED,
}


async def watch_hold(client: DecisionClient, revocations: Revocations, hold: Hold) -> HoldResult:
    """Until the approval leaves `pending`. LOST when the service stays away for 5 s, or says what isn't understood.

    The approval stream is silent while nothing happens; that the service lives is heard on the revocation stream.
    """
    state = _State()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_read_until_final(client, hold, state))
        guard = group.create_task(_service_lost(revocations, state))
        await asyncio.wait({reading, guard}, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        guard.cancel()
    return state.result or HoldResult(HoldEnd.LOST, "the decision service can't be reached")


class _State:
    __slots__ = ("broken_since", "result")

    def __init__(self) -> None:
        self.result: HoldResult | None = None
        self.broken_since: float | None = None


async def _service_lost(revocations: Revocations, state: _State) -> None:
    while True:
        now = time.monotonic()
        broken = now - state.broken_since if state.broken_since is not None else 0.0
        left = LOST_SECONDS - max(broken, revocations.silent_for())
        if left <= 0:
            return
        await asyncio.sleep(left)  # nothing that begins meanwhile lasts long enough before; many may be held at once


async def _read_until_final(client: DecisionClient, hold: Hold, state: _State) -> None:
    while True:
        stream = client.watch_approval(hold.approval)
        try:
            async for approval in stream:
                state.broken_since = None
                if approval.id != hold.approval or approval.state != approval_pb2.STATE_PENDING:
                    state.result = _result(approval, hold)
                    return
        except DecisionUnavailableError as error:
            if state.broken_since is None:
                state.broken_since = time.monotonic()
                log.warning("approval stream lost", approval=hold.approval, error=str(error))
        finally:
            await stream.aclose()
        await asyncio.sleep(RETRY_SECONDS)


def _result(approval: approval_pb2.Approval, hold: Hold) -> HoldResult:
    if approval.id != hold.approval:
        return HoldResult(HoldEnd.LOST, "the decision service spoke of another approval")
    end = _ENDS.get(approval.state, HoldEnd.LOST)
    if end is HoldEnd.LOST:
        return HoldResult(end, "the approval is in a state this enforcer does not know")
    if approval.state in (approval_pb2.STATE_REDEEMED, approval_pb2.STATE_OUTCOME_UNKNOWN):
        return HoldResult(end, "this approval was used already")
    words = [verdict.reason for verdict in approval.verdicts if verdict.approve == (end is HoldEnd.APPROVED)]
    return HoldResult(end, words[-1][:2000] if words else "")


async def withdraw_hold(client: DecisionClient, hold: Hold, reason: str) -> None:
    """Take the question back; tried for 5 s. If that fails it stays pending until it expires: it can't run by itself,
    since only the session that was held would redeem it."""
    deadline = time.monotonic() + WITHDRAW_PATIENCE
    while True:
        try:
            await client.withdraw(approval_pb2.WithdrawRequest(id=hold.approval, reason=reason))
            return
        except CallRefusedError as error:
            log.info("nothing to withdraw", approval=hold.approval, error=str(error))
            return
        except DecisionUnavailableError as error:
            if time.monotonic() + RETRY_SECONDS >= deadline:
                log.warning("not withdrawn", approval=hold.approval, error=str(error))
                return
        await asyncio.sleep(RETRY_SECONDS)
