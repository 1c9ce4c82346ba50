"""One open session: what it may do next, and the record of what it did. Implements ports.Gate.

Fails closed in one place: every way an answer can be missing, late or odd ends as a DENIED ruling.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import structlog
from cachetools import LRUCache
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2

from enforcers.core import acts
from enforcers.core.acts import head, intent_field, intent_size, outcome_field, session_field, untimed_outcome
from enforcers.core.decision_client import DecisionClient, Soon
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.holding import watch_hold, withdraw_hold
from enforcers.core.leases import LeaseTable, Scope
from enforcers.core.metrics import METRICS, STATUSES, TALLY
from enforcers.core.ports import Act, Answer, Begun, Decided, Duties, Hold, HoldResult, Outcome, Question, Ruling
from enforcers.core.reading import Asked, LeaseTerms, denied, read_decide, unavailable
from enforcers.core.recorder import Recorder
from enforcers.core.records import ActRecord, Waiter, Window
from enforcers.core.revocations import Revocations

DECIDED_WINDOW = (1024, 30.0)  # outcomes of decided acts a session may have unacknowledged before it asks again
# Bytes. The service takes messages of 20 MiB: a leased act beyond this would run and its record then be refused.
MAX_INTENT = 18 << 20
NOT_BEGUN = "RECORD_UNAVAILABLE: its intent was not durable in time"
_REMEMBERED_REDEMPTIONS = 1024
_OUTCOME = 128  # bytes, about, of a record without its outcome
_ALLOWING = (type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_MASK_COLUMNS)

log = structlog.get_logger("twokey.enforcers.gate")


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the sessions of one worker share."""

    client: DecisionClient
    leases: LeaseTable
    recorder: Recorder
    revocations: Revocations
    draining: Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """When the token ends: on the monotonic clock (counted from the service's own times) and on this machine's."""

    monotonic: float
    wall: float

    def passed(self) -> bool:
        return time.monotonic() >= self.monotonic or time.time() >= self.wall


class SessionGate:
    """See ports.Gate. One task at a time asks; end() and refusal() may be called at any time."""

    def __init__(
        self,
        shared: Shared,
        *,
        session: str,
        scope: Scope,
        subject: str,
        duties: Duties,
        expiry: Expiry,
        stream: int,
        on_close: Callable[[], None],
    ) -> None:
        """stream: LeaseTable.stream when the session's opening was asked for."""
        self._shared = shared
        self._leases = shared.leases
        self._session = session
        self._scope = scope
        self._subject = subject
        self._duties = duties
        self._expiry = expiry
        self._revoked: str | None = None
        self._closed = False
        self._sequence = 0
        self._window = Window()
        self._head: bytes = session_field(session)
        self._recorder: Recorder = shared.recorder
        self._redeemed: LRUCache[str, bool] = LRUCache(_REMEMBERED_REDEMPTIONS)
        self._prefix = b""
        self._version = -1
        # The revocation stream under which the service last confirmed this very session: after a gap in the stream
        # the session may have been revoked unheard, and must be decided once before it may use any lease.
        self._confirmed = stream
        self._on_close = on_close
        self._asking: _Asking | None = None

    @property
    def session(self) -> str:
        return self._session

    @property
    def role(self) -> str:
        return self._scope.role

    @property
    def connection(self) -> str:
        return self._scope.connection

    @property
    def subject(self) -> str:
        return self._subject

    @property
    def session_duties(self) -> Duties:
        return self._duties

    def revoke(self, reason: str) -> None:
        """The session is over; from now on refusal() says so."""
        self._revoked = reason or "the session was revoked"

    @property
    def revision(self) -> str:
        return self._leases.revision

    def refusal(self) -> Ruling | None:
        if self._revoked is not None:
            return denied("REVOKED", f"the session was revoked: {self._revoked}", hint="log in again if you may")
        if self._closed:
            return denied("REVOKED", "the session is closed")
        if self._expiry.passed():
            return denied("SESSION_EXPIRED", "the token has expired", hint="connect again with a new token")
        if self._window.broken:
            return denied("RECORD_UNAVAILABLE", "a record of this session could not be written")
        if self._shared.draining():
            return denied("DRAINING", "this gateway is shutting down", hint="connect again")
        return None

    def leased(self, key: bytes) -> Ruling | None:
        leases = self._leases
        if self._version != leases.version and not self._rescope():
            return None
        ruling = leases.get(self._prefix + key)
        if ruling is None or self._revoked is not None or self._closed:
            return None
        TALLY.leased += 1
        return ruling

    def drop_leases(self, reason: str) -> None:
        log.info("leases dropped", connection=self._scope.connection, why=reason)
        self._leases.drop_connection(self._scope.connection)

    async def ask(self, question: Question) -> Ruling:
        return await self._decide(question, approval="")

    def ask_soon(self, question: Question, done: Decided) -> bool:
        now = time.monotonic()
        recorder = self._recorder
        if self._asking is not None or recorder.full() or not self._window.room(*DECIDED_WINDOW, now):
            return False
        if self.refusal() is not None:
            return False
        sequence = self._sequence + 1
        asking = _Asking(self, question, done, sequence, now)
        encoded = acts.question(self._head, question, sequence)
        soon = self._shared.client.decide_soon(question.operation.id, encoded, asking.answered)
        if soon is None:
            return False
        self._sequence = sequence
        asking.soon = soon
        self._asking = asking
        return True

    async def redeem(self, question: Question, hold: Hold) -> Ruling:
        if hold.approval in self._redeemed:
            return denied("APPROVAL_REDEEMED", "this approval was used already", hint="ask again for another")
        # Before the call: an answer that never came may have redeemed it all the same.
        self._redeemed[hold.approval] = True
        return await self._decide(question, approval=hold.approval)

    async def wait(self, hold: Hold) -> HoldResult:
        METRICS.held.inc()
        try:
            return await watch_hold(self._shared.client, self._shared.revocations, hold)
        finally:
            METRICS.held.dec()

    async def withdraw(self, hold: Hold, reason: str) -> None:
        await withdraw_hold(self._shared.client, hold, reason)

    def ready(self, act: Act) -> bool:
        act.started = now = time.monotonic()
        ruling = act.ruling
        if not ruling.leased:
            return True  # Decide recorded the intent
        record = act.record
        if record is not None:
            return record.durable or ruling.window is not None
        if ruling.window is None:
            return False  # its intent must be durable first
        records, delay = ruling.window
        if self._queue_intent(act, records, delay, now) is None:
            return False
        self._recorder.pace(self._window, records, delay)
        return True

    def _queue_intent(self, act: Act, records: int, delay: float, now: float) -> ActRecord | None:
        """None: there is no room for it now."""
        recorder = self._recorder
        window = self._window
        size = intent_size(act)
        if size > MAX_INTENT or recorder.full() or not window.room(records, delay, now):
            return None
        self._sequence += 1
        act.sequence = self._sequence
        act.record = record = ActRecord(
            self._session,
            head(self._head, act.operation, act.sequence),
            intent_field(act),
            window,
            queued=now,
            size=size,
        )
        recorder.add(record)
        return record

    def begin_soon(self, act: Act, done: Begun) -> bool:
        if act.ruling.window is not None or act.record is not None or act.ended or self._over():
            return False
        records, delay = DECIDED_WINDOW
        record = self._queue_intent(act, records, delay, time.monotonic())
        if record is None:
            return False
        self._recorder.watch(record, _Beginning(self, act, done))
        return True

    async def begin(self, act: Act) -> None:
        records, delay = act.ruling.window or DECIDED_WINDOW
        while not self._over() and not act.ended:
            if self.ready(act):
                return
            if intent_size(act) > MAX_INTENT:
                raise DecisionUnavailableError("the act is too large to be recorded")
            if act.ruling.window is None:
                waited = Waited()
                if self.begin_soon(act, waited):
                    await self._settled(act, waited)
                    continue
            await self._recorder.room(self._window, records, delay)
        raise DecisionUnavailableError("the session is over")

    async def _settled(self, act: Act, waited: Waited) -> None:
        try:
            await waited.wait()
        except asyncio.CancelledError:
            self.end(act, Outcome("not-executed", error=NOT_BEGUN))
            raise

    def _over(self) -> bool:
        return self._closed or self._revoked is not None

    def end(self, act: Act, outcome: Outcome) -> None:
        if outcome.status not in STATUSES:
            raise ValueError(f"no such status of an act: {outcome.status!r}")
        if act.ended:
            return
        act.ended = True
        TALLY.acts[outcome.status] += 1
        record = act.record
        act.record = None
        if record is not None and not record.sent:
            record.outcome = outcome_field(act, outcome)
            return
        self._add(act.operation, outcome_field(act, outcome))

    def _add(self, operation: str, outcome: bytes) -> None:
        """A record of an outcome alone, under the next number."""
        self._sequence += 1
        record = ActRecord(
            self._session,
            head(self._head, operation, self._sequence),
            b"",
            self._window,
            queued=time.monotonic(),
            size=_OUTCOME + len(outcome),
        )
        record.outcome = outcome
        self._recorder.add(record)

    async def close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        asking = self._asking
        self._asking = None
        if asking is not None and asking.soon is not None:
            asking.soon.give_up()
            self._tell("not-executed", asking.question.operation.id, _no_answer(asking.sequence))
        self._shared.revocations.forget(self._session)
        METRICS.sessions.dec()
        self._on_close()
        if not await self._recorder.flush(self._window):
            log.warning("session closed before its last records were durable", session=self._session)
        if self._revoked is not None:
            return
        try:
            await self._shared.client.close_session(
                decision_pb2.CloseSessionRequest(session=self._session, reason=reason)
            )
        except DecisionUnavailableError as error:
            # The service closes the sessions of a silent enforcer, and of a token that expired, by itself.
            log.warning("session not closed at the service", session=self._session, error=str(error))

    def _rescope(self) -> bool:
        """Keys under the table's present version; False while this session must be confirmed first."""
        leases = self._leases
        if self._confirmed != leases.stream:
            return False
        self._prefix = leases.prefix(self._scope)
        self._version = leases.version
        return True

    async def _decide(self, question: Question, *, approval: str) -> Ruling:
        ruling = self.refusal()
        if ruling is None:
            return self._ruled(question, await self._answered(question, approval))
        METRICS.rulings[ruling.answer].inc()
        return ruling

    def _ruled(self, question: Question, answered: Ruling) -> Ruling:
        # It may have been cut while the answer was on its way.
        ruling = self._refusal_after(answered)
        if ruling is not answered and answered.answer is Answer.ALLOWED:
            self._tell("not-executed", question.operation.id, ruling.code, answered.execution)
        METRICS.rulings[ruling.answer].inc()
        return ruling

    def _told(
        self,
        asking: _Asking,
        response: decision_pb2.DecideResponse | None,
        error: DecisionUnavailableError | None,
    ) -> Ruling:
        """What a question that was asked soon came to."""
        self._asking = None
        if response is None:
            return self._ruled(asking.question, self._unanswered(asking.question, asking.sequence, str(error)))
        return self._ruled(asking.question, self._read(asking, response, redeeming=False))

    def _refusal_after(self, ruling: Ruling) -> Ruling:
        """The ruling, unless the session was revoked or expired meanwhile. (Draining lets what was asked run.)"""
        refusal = self.refusal()
        return ruling if refusal is None or refusal.code == "DRAINING" else refusal

    async def _answered(self, question: Question, approval: str) -> Ruling:
        request = decision_pb2.DecideRequest(
            session=self._session,
            operation=question.operation,
            approval=approval,
            can_hold=question.can_hold,
            hold_hint=question.hold_hint,
        )
        recorder = self._recorder
        try:
            if recorder.full() or not self._window.room(*DECIDED_WINDOW, time.monotonic()):
                await recorder.room(self._window, *DECIDED_WINDOW)
            self._sequence += 1
            request.sequence = self._sequence
            asking = _Asking(self, question, _nobody, self._sequence, time.monotonic())
            response = await self._shared.client.decide(request)
        except DecisionUnavailableError as error:
            return self._unanswered(question, request.sequence, str(error))
        except asyncio.CancelledError:
            if request.sequence:
                self._tell("not-executed", question.operation.id, _no_answer(request.sequence))
            raise
        return self._read(asking, response, redeeming=bool(approval))

    def _unanswered(self, question: Question, sequence: int, error: str) -> Ruling:
        """sequence: 0 where it was never sent."""
        METRICS.unavailable.inc()
        log.warning("no decision", session=self._session, operation=question.operation.id, error=error)
        if sequence:
            self._tell("not-executed", question.operation.id, _no_answer(sequence))
        return unavailable()

    def _read(self, asking: _Asking, response: decision_pb2.DecideResponse, *, redeeming: bool) -> Ruling:
        METRICS.decide.observe(time.monotonic() - asking.started)
        question = asking.question
        operation = question.operation
        values = operation.sql.values
        asked = Asked(
            operation=operation.id,
            can_hold=question.can_hold,
            redeeming=redeeming,
            has_estimate=values.HasField("estimate") or values.estimate_unknown,
            planned=bool(self._scope.plan),
        )
        read = read_decide(response, asked)
        ruling = read.ruling
        if ruling.answer is not Answer.DENIED and asking.stream == self._leases.stream:
            self._confirmed = asking.stream
        if ruling.answer is Answer.DENIED and response.decision.outcome in _ALLOWING:
            # The log holds an allow that this enforcer could not carry out: its outcome must say so.
            self._tell("refused", operation.id, ruling.code, response.execution)
        if read.lease is not None and question.lease_key is not None:
            self._keep(question.lease_key, ruling, read.lease, asking.started, asking.version)
        return ruling

    def _tell(self, status: str, operation: str, error: str, execution: str = "") -> None:
        """Record how an act ended that the gateway never got to see."""
        TALLY.acts[status] += 1
        self._add(operation, untimed_outcome(Outcome(status, error=error), execution))

    def _keep(self, key: bytes, ruling: Ruling, terms: LeaseTerms, asked: float, version: int) -> None:
        leases = self._leases
        if terms.revision != leases.revision or version != leases.version or not self._rescope():
            return
        kept = replace(ruling, leased=True, window=terms.window)
        leases.store(self._prefix + key, kept, ttl=terms.ttl, asked=asked, version=version)


class _Asking:
    """A question on its way, and under what it was asked."""

    def __init__(self, gate: SessionGate, question: Question, done: Decided, sequence: int, started: float) -> None:
        self.gate: SessionGate = gate
        self.question: Question = question
        self.done: Decided = done
        self.sequence: int = sequence
        self.started: float = started
        self.version: int = gate._leases.version  # noqa: SLF001 - one idea in two classes
        self.stream: int = gate._leases.stream  # noqa: SLF001
        self.soon: Soon | None = None

    def answered(self, response: decision_pb2.DecideResponse | None, error: DecisionUnavailableError | None) -> None:
        self.done(partial(self.gate._told, self, response, error))  # noqa: SLF001


def _nobody(ruling: Callable[[], Ruling]) -> None:
    """Of a question that its asker waits for itself."""


class _Beginning(Waiter):
    """An act whose intent was queued. Where it is not durable in time, the record says that nothing ran."""

    def __init__(self, gate: SessionGate, act: Act, done: Begun) -> None:
        self.gate: SessionGate = gate
        self.act: Act = act
        self.done: Begun = done

    def settled(self, error: DecisionUnavailableError | None) -> None:
        if error is not None:
            self.gate.end(self.act, Outcome("not-executed", error=NOT_BEGUN))
        self.act.started = time.monotonic()
        self.done(error)


class Waited:
    """Lets a coroutine wait for what a Begun is told."""

    def __init__(self) -> None:
        self._settled = asyncio.Event()
        self._error: DecisionUnavailableError | None = None

    def __call__(self, error: DecisionUnavailableError | None) -> None:
        self._error = error
        self._settled.set()

    async def wait(self) -> None:
        """Raises the error it was told, if any."""
        await self._settled.wait()
        if self._error is not None:
            raise self._error


def _no_answer(sequence: int) -> str:
    """The service may or may not have recorded that number: the next one explains a gap."""
    return f"DECISION_UNAVAILABLE: no answer to number {sequence}"
