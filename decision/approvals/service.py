"""Approvals as callers meet them: who sees one, what a verdict does, and what time does.

Whether somebody may review is policy's answer to the question `review`, asked anew each time; nothing here knows a
rule. The order of a verdict: policy allows it; it is stored, its record durable before it is seen; policy is asked
about the held operation again, with the verdicts as context; only when it no longer requires an approval does the
state become approved, its record durable before that is seen. What fails on the way leaves the approval pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError
from twokey.type.v1 import operation_pb2

from decision.approvals import records
from decision.errors import (
    BadRequestError,
    CallerError,
    DecisionError,
    NotFoundError,
    PolicyError,
    PolicyUnavailableError,
    StateError,
)
from decision.model import JSON, NO_LOGIN, Approval, ApprovalState, Login, Outcome, PolicyResult, Subject, Verdict
from decision.ports import ApprovalStore, Clock, History, PolicyEngine, Recorder

MAX_REASON = 4000  # characters
MAX_CHANNEL = 64
MAX_WATCHED = 256  # ids in one watch
ASKED_AT_ONCE = 8  # questions to policy for one listing
RETRIES_AT_ONCE = 64  # unfinished reviews per sweep
SWEEP_EVERY_S = 1.0
LOAD_EVERY_S = 30.0  # what another replica left unfinished
POLICY_DEADLINE_S = 3.0
REVISION_TRIES = 3
HISTORY_TRIES = 8

FINAL = frozenset(ApprovalState) - {ApprovalState.PENDING, ApprovalState.APPROVED}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    question: JSON
    answer: PolicyResult
    history: History | None  # what policy was shown


class Approvals:
    """A *viewer* is the subject that calls, or None for an enforcer, which sees every approval.

    `reconsider` asks policy about the held operation again with the approval's verdicts as context.
    `review_document` makes the question `review` (decision.pdp.opa_input). Both may raise DecisionError.
    """

    def __init__(
        self,
        *,
        store: ApprovalStore,
        engine: PolicyEngine,
        recorder: Recorder,
        clock: Clock,
        reconsider: Callable[[Approval], Awaitable[PolicyResult]],
        review_document: Callable[[Subject, Approval, History | None, Login | None], JSON],
        past: Callable[[Subject], Awaitable[History]],
    ) -> None:
        self._store = store
        self._engine = engine
        self._recorder = recorder
        self._clock = clock
        self._reconsider = reconsider
        self._review_document = review_document
        self._past = past
        self._unsettled: dict[str, float] = {}  # verdicts are stored; when policy is asked again (monotonic)

    async def get(self, viewer: Subject | None, approval: str) -> Approval:
        """Raises NotFoundError, the same for an unknown id and one that isn't for this viewer's eyes."""
        found = await self._store.get(approval)
        if found is None or not await self._visible(viewer, found):
            raise _not_found(approval)
        return found

    async def list(self, viewer: Subject | None, *, include_finished: bool = False) -> Sequence[Approval]:
        """Those the viewer may see, newest first, out of the newest that the store lists (1000)."""
        found = await self._store.list(include_finished=include_finished)
        slots = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(one: Approval) -> bool:
            async with slots:
                return await self._visible(viewer, one)

        seen = await asyncio.gather(*(ask(one) for one in found), return_exceptions=True)
        for failed in seen:
            if isinstance(failed, BaseException):
                raise failed
        return [one for one, visible in zip(found, seen, strict=True) if visible]

    async def similar(self, viewer: Subject, like: Approval, *, limit: int) -> Sequence[Approval]:
        """Former ones of the same shape on the same connection that the viewer may see, newest first."""
        shape = _shape(like)
        found: list[Approval] = []
        for one in await self._store.list(include_finished=True):
            alike = one.id != like.id and one.connection == like.connection and shape and _shape(one) == shape
            if alike and await self._visible(viewer, one):
                found.append(one)
            if len(found) >= limit:
                break
        return found

    async def watch(self, viewer: Subject | None, ids: Sequence[str]) -> AsyncIterator[Approval]:
        """The current state, then each change. With ids it ends once all of them are in a final state; without, it
        is every approval the viewer may see. Raises NotFoundError, and StateError SLOW_WATCHER."""
        if len(ids) > MAX_WATCHED:
            raise BadRequestError(f"At most {MAX_WATCHED} approvals can be watched by id", code="TOO_LARGE")
        for approval in ids:
            await self.get(viewer, approval)
        open_ids = set(ids)
        async for one in self._store.watch(tuple(open_ids)):
            if not await self._visible(viewer, one):  # policy may have changed since
                if ids:
                    raise _not_found(one.id)
                continue
            yield one
            if one.state in FINAL:
                open_ids.discard(one.id)
            if ids and not open_ids:
                return

    async def approve(
        self, subject: Subject, approval: str, *, reason: str, channel: str, login: Login = NO_LOGIN
    ) -> Approval:
        """The approval after this verdict: approved, or still pending when policy wants more. `login`: of the
        reviewer's token or web session; policy may ask for a strong or fresh one.

        Raises NotFoundError, CallerError (policy's reason, rule named), StateError (VERDICT_GIVEN, or the state in
        force), PolicyError, PolicyUnavailableError, StoreError, RecordError.
        """
        given: JSON = {"approve": True, "reason": reason, "channel": channel}
        return await self._settle(await self._give_verdict(subject, approval, given, login))

    async def deny(
        self, subject: Subject, approval: str, *, reason: str, channel: str, login: Login = NO_LOGIN
    ) -> Approval:
        """The approval, now denied. Raises as approve."""
        given: JSON = {"approve": False, "reason": reason, "channel": channel}
        return await self._give_verdict(subject, approval, given, login)

    async def withdraw(self, viewer: Subject | None, approval: str, *, reason: str) -> Approval:
        """By an enforcer for its client, or by the requester, as long as nothing was redeemed. An approval that came
        in the same moment is withdrawn too: who took the question back leaves nothing usable behind.

        Raises NotFoundError, CallerError, StateError.
        """
        found = await self.get(viewer, approval)
        if viewer is not None and not _is_requester(viewer, found):
            raise CallerError("Only who asked for an approval can withdraw it")
        _bounded("reason", reason, MAX_REASON)

        async def record(moved: Approval) -> None:
            body = records.transition_body(moved, "withdrawn", by=viewer, reason=reason)
            await self._recorder.append(records.KIND, body)

        try:
            return await self._store.move(
                approval, expect=ApprovalState.PENDING, to=ApprovalState.WITHDRAWN, record=record
            )
        except StateError as error:
            if error.code != "APPROVAL_APPROVED":
                raise
        return await self._store.move(
            approval, expect=ApprovalState.APPROVED, to=ApprovalState.WITHDRAWN, record=record
        )

    async def run_sweeper(self) -> None:
        """For ever, once a second: expire, lapse, mark unknown outcomes, finish reviews that were interrupted."""
        loaded: float | None = None
        while True:
            try:
                if loaded is None or self._clock.monotonic() - loaded >= LOAD_EVERY_S:
                    await self._load_unsettled()
                    loaded = self._clock.monotonic()
                await self.sweep()
            except DecisionError as error:
                # Nothing becomes usable by a sweep that fails: what is due is refused by its time all the same.
                _log.warning("approvals.sweep-failed", code=error.code, error=str(error))
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> Sequence[Approval]:
        """One round of the sweeper. Raises StoreError and RecordError; nothing has moved then."""

        async def record(moved: Sequence[Approval]) -> None:
            await self._recorder.append_many(records.transitions(moved, "swept"))

        moved = await self._store.sweep(record=record)
        now = self._clock.monotonic()
        due = [approval for approval, at in self._unsettled.items() if at <= now]
        for approval in due[:RETRIES_AT_ONCE]:
            await self._retry(approval)
        return moved

    async def _visible(self, viewer: Subject | None, approval: Approval) -> bool:
        if viewer is None or _is_requester(viewer, approval) or _has_answered(viewer, approval):
            return True
        try:
            return _allows((await self._ask(viewer, approval, None)).answer)
        except (PolicyError, BadRequestError) as error:
            # One approval that policy can't judge must not hide all the others from their reviewers.
            _log.warning("approvals.not-judged", approval=approval.id, code=error.code)
            return False

    async def _ask(self, subject: Subject, approval: Approval, login: Login | None) -> _Asked:
        """The question `review` and its answer, people and answer under one revision. login: None only to see it."""
        try:
            async with asyncio.timeout(POLICY_DEADLINE_S):
                for _ in range(REVISION_TRIES):
                    revision = self._engine.revision
                    history = None
                    question = self._review_document(subject, approval, None, login)
                    answer = await self._engine.evaluate(question)
                    if answer.needs == ("history",):
                        history = await self._past(subject)
                        question = self._review_document(subject, approval, history, login)
                        answer = await self._engine.evaluate(question)
                    if answer.revision == revision == self._engine.revision:
                        return _Asked(question, answer, history)
        except TimeoutError as error:
            raise PolicyUnavailableError("Policy did not answer in time") from error
        raise PolicyUnavailableError("The policy is being replaced; ask again")

    async def _give_verdict(self, subject: Subject, approval: str, given: JSON, login: Login) -> Approval:
        _bounded("reason", str(given["reason"]), MAX_REASON)
        _bounded("channel", str(given["channel"]), MAX_CHANNEL)
        found = await self._store.get(approval)
        if found is None:
            raise _not_found(approval)
        for _ in range(HISTORY_TRIES):
            try:
                return await self._judge_verdict(subject, found, given, login)
            except StateError as error:
                if error.code != "HISTORY_CHANGED":
                    raise
        raise PolicyUnavailableError("Too much is reviewed at once; ask again")

    async def _judge_verdict(self, subject: Subject, found: Approval, given: JSON, login: Login) -> Approval:
        """Raises StateError HISTORY_CHANGED where policy was shown a past that has grown by now; nothing is done."""
        asked = await self._ask(subject, found, login)
        question, answer = asked.question, asked.answer
        if not _allows(answer):
            refused = _refusal(answer)
            code = refused.code
            body = records.refused_body(found, subject, given, code=code, question=question, answer=answer)
            await self._recorder.append(records.KIND, body)
            raise refused

        async def record(after: Approval) -> None:
            await self._recorder.append(
                records.KIND, records.verdict_body(after, subject, given, question=question, answer=answer)
            )

        verdict = Verdict(
            reviewer=subject,
            approve=given["approve"] is True,
            reason=str(given["reason"]),
            channel=str(given["channel"]),
            time=self._clock.now(),
        )
        seen = None if asked.history is None else asked.history.version
        try:
            return await self._store.add_verdict(found.id, verdict, record=record, history=seen)
        except StateError as error:
            if error.code == "HISTORY_CHANGED":
                raise
            now = await self._store.get(found.id) or found
            body = records.refused_body(now, subject, given, code=error.code, question=question, answer=None)
            await self._recorder.append(records.KIND, body)
            raise

    async def _settle(self, given: Approval) -> Approval:
        """Ask policy again. A caller that goes away in between leaves it to the sweeper."""
        self._unsettled[given.id] = self._clock.monotonic()
        try:
            async with asyncio.timeout(POLICY_DEADLINE_S):
                answer = await self._reconsider(given)
        except TimeoutError as error:
            raise PolicyUnavailableError("Policy did not answer in time; the verdict is kept") from error
        if answer.outcome not in {Outcome.ALLOW, Outcome.MASK_COLUMNS} or answer.needs:
            again = None if answer.approval is None else answer.approval.again_s
            if again is None:
                self._unsettled.pop(given.id, None)
            else:
                self._unsettled[given.id] = self._clock.monotonic() + again
            return given

        async def record(moved: Approval) -> None:
            await self._recorder.append(records.KIND, records.transition_body(moved, "reviewed", answer=answer))

        try:
            settled = await self._store.move(
                given.id, expect=ApprovalState.PENDING, to=ApprovalState.APPROVED, record=record
            )
        except StateError as error:
            self._unsettled.pop(given.id, None)
            now = await self._store.get(given.id)
            if now is not None and error.code in {"APPROVAL_APPROVED", "APPROVAL_REDEEMED"}:
                return now  # another reviewer's verdict, counted together with this one, was quicker
            raise
        self._unsettled.pop(given.id, None)
        return settled

    async def _load_unsettled(self) -> None:
        """A crash, here or of another replica, may have come between a verdict and the question after it."""
        for approval in await self._store.answered():
            self._unsettled.setdefault(approval, self._clock.monotonic())

    async def _retry(self, approval: str) -> None:
        found = await self._store.get(approval)
        if found is None or found.state is not ApprovalState.PENDING:
            self._unsettled.pop(approval, None)
            return
        try:
            await self._settle(found)
        except DecisionError as error:
            _log.warning("approvals.unsettled", approval=approval, code=error.code)
            if approval in self._unsettled:  # to the end, so that one that keeps failing holds up no other
                self._unsettled[approval] = self._unsettled.pop(approval)


def _allows(answer: PolicyResult) -> bool:
    """Nothing but a plain allow: an obligation on a review is one that nobody here knows."""
    return answer.outcome is Outcome.ALLOW and not answer.obligations and not answer.needs


def _refusal(answer: PolicyResult) -> CallerError:
    if answer.outcome is Outcome.ALLOW:
        return CallerError("Policy attached conditions to this review that can't be met", code="OBLIGATION_UNMET")
    text = "; ".join(f"{one.reason} [{one.rule}]" for one in answer.reasons) or "No rule permits this review"
    steps = [one.next for one in answer.reasons if one.next]
    return CallerError(text, code="POLICY_DENIED", next_step=steps[0] if steps else "")


def _shape(approval: Approval) -> bytes:
    """The shape digest of the held operation; empty where it can't be read."""
    try:
        return operation_pb2.Operation.FromString(approval.operation).shape_digest
    except DecodeError:
        return b""


def _is_requester(viewer: Subject, approval: Approval) -> bool:
    return viewer.party.identity == approval.requester.party.identity


def _has_answered(viewer: Subject, approval: Approval) -> bool:
    """Who gave a verdict sees what came of it, though policy takes no second one."""
    return any(viewer.party.identity == verdict.reviewer.party.identity for verdict in approval.verdicts)


def _not_found(approval: str) -> NotFoundError:
    return NotFoundError(f"There is no approval {approval} that you may see")


def _bounded(name: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise BadRequestError(f"{name}: at most {limit} characters", code="TOO_LARGE")
