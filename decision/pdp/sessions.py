"""Sessions: opened by token and policy, looked up for every decision, ended by close, revocation or silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol
from weakref import WeakValueDictionary

import structlog
from cachetools import LRUCache, TTLCache

from decision.audit.record import timestamp
from decision.errors import (
    BadRequestError,
    DecisionError,
    NotFoundError,
    PolicyError,
    RecordError,
    StateError,
    StoreError,
    TokenError,
)
from decision.metrics import Metrics
from decision.model import JSON, Obligation, Outcome, PolicyResult, Reason, Session, Subject, VerifiedToken, new_id
from decision.pdp import opa_input
from decision.pdp.answer import Answer, answer_body, denial, denial_of, input_body, session_body, who_body
from decision.pdp.deadlines import stored
from decision.pdp.failed_logins import FailedLogins
from decision.pdp.plan_input import PlanContext
from decision.pdp.planned import PlannedActs
from decision.pdp.questions import Questions
from decision.pdp.revocations import Revocations
from decision.ports import Admission, Clock, History, Live, Recorder, SessionStore

CACHED: Final = 20_000
CACHED_S: Final = 1.0  # how long a closing by another replica may go unseen
SILENT_S: Final = 10.0
_OPEN_TRIES: Final = 8
_TEXT: Final = 256
_PROTOCOLS: Final = frozenset({"postgres", "kubernetes", "ssh"})
_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """A connection as the service knows it: never its credentials."""

    @property
    def kind(self) -> str: ...

    @property
    def environment(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An OpenSession request. `token` and `proof` are secrets: never shown, recorded or stored."""

    token: str = field(repr=False)
    proof: str = field(repr=False)
    connection: str
    role: str
    protocol: str
    client_address: str
    plan: str
    enforcer: str
    client_certificate: str = ""  # its thumbprint, where the gateway's TLS checked one
    certified: str = ""  # the enforcer's name by its certificate, where those tell enforcers apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """session is None when denied."""

    answer: Answer
    session: Session | None = None
    obligations: tuple[Obligation, ...] = ()


@dataclass(slots=True)
class _Trail:
    opening: Opening
    now: datetime
    subject: Subject | None = None
    document: JSON | None = None
    token: VerifiedToken | None = None
    plan: PlanContext | None = None


class Sessions:
    def __init__(
        self,
        *,
        store: SessionStore,
        questions: Questions,
        admission: Admission,
        recorder: Recorder,
        revocations: Revocations,
        clock: Clock,
        metrics: Metrics,
        connections: Mapping[str, Connection],
        unfit: Mapping[str, str] | None = None,
        planned: PlannedActs | None = None,
    ) -> None:
        """unfit: why a connection is closed, while what policy demands there can't be done."""
        self._unfit = unfit if unfit is not None else {}
        self._store = store
        self._planned = planned
        self._questions = questions
        self._admission = admission
        self._recorder = recorder
        self._revocations = revocations
        self._clock = clock
        self._metrics = metrics
        self._connections = connections
        self._cache: TTLCache[str, Session] = TTLCache(CACHED, CACHED_S, timer=clock.monotonic)
        self._ended: TTLCache[str, str] = TTLCache(CACHED, 3600.0, timer=clock.monotonic)
        self._latest = clock.now()
        self._owed: list[dict[str, object]] = []  # at most one for each session that was open
        self._known: LRUCache[str, None] = LRUCache(CACHED)
        self._mine: LRUCache[str, str] = LRUCache(CACHED)  # session -> whose it is, where certificates tell
        self._failed = FailedLogins(clock)
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._outdated: Callable[[], None] = _nothing

    def when_outdated(self, told: Callable[[], None]) -> None:
        """Told of each session that was opened under a revision which is no longer in force by then."""
        self._outdated = told

    # Looking up.

    async def live(self, session: str, now: datetime) -> Session:
        """The open, unexpired session. Raises NotFoundError, StateError (REVOKED, SESSION_EXPIRED), StoreError."""
        found = self._cache.get(session)
        if found is None or session in self._ended:
            found = await stored(self._store.get(session))
            if found is None:
                raise NotFoundError("no such session", code="REVOKED")
            if found.closed is None and session not in self._ended:
                self._cache[session] = found
        self.check_still_live(found, now)
        return found

    def check_still_live(self, session: Session, now: datetime) -> None:
        """Without I/O: what this process knows by now. Raises StateError."""
        if session.closed is not None or session.id in self._ended:
            reason = session.close_reason or self._ended.get(session.id, "")
            raise StateError(f"the session has ended{': ' if reason else ''}{reason}", code="REVOKED")
        self._latest = max(self._latest, now)  # a clock set back revives nothing
        if self._latest >= session.expires:
            raise StateError("the session's token has expired", code="SESSION_EXPIRED", next_step="Log in again.")

    async def must_be_known(self, session: str) -> None:
        """That this service opened it once, whatever became of it. Raises NotFoundError, StoreError."""
        if session in self._known:
            return
        if len(session) > _TEXT or await stored(self._store.get(session)) is None:
            raise NotFoundError("no such session")
        self._known[session] = None

    async def must_belong(self, session: str, prefix: str) -> None:
        """That the enforcer whose instances' names begin so opened it; any will do for "". One that another opened is
        none to it. Raises NotFoundError, StoreError."""
        if not prefix or self._mine.get(session) == prefix:
            return
        found = None if len(session) > _TEXT else await stored(self._store.get(session))
        if found is None or not found.enforcer.startswith(prefix):
            raise NotFoundError("no such session", code="REVOKED")
        self._mine[session] = prefix

    async def find(self, session: str) -> Session | None:
        """As the store has it, open or closed. Raises StoreError."""
        return await stored(self._store.get(session))

    async def list(self, *, include_closed: bool) -> Sequence[Session]:
        return await stored(self._store.list(include_closed=include_closed))

    async def list_open(self) -> Sequence[Session]:
        """Every one, however many. Raises StoreError."""
        return await stored(self._store.list(every=True))

    # Opening.

    async def open(self, opening: Opening) -> Opened:
        """A session, or the denial to show. Never raises DecisionError."""
        trail = _Trail(opening, self._clock.now())
        try:
            return await self._open(trail)
        except DecisionError as error:
            answer = denial_of(error, now=trail.now, revision=self._questions.engine.revision)
            return Opened(answer=await self._denied(trail, answer, record=not isinstance(error, RecordError)))

    async def _open(self, trail: _Trail) -> Opened:
        opening = trail.opening
        _check(opening)
        if opening.proof:
            # A proof is for one call at one address, and this one was not made for us: the gateway's clients can't
            # sign, and those who can ask for a one-time password.
            raise TokenError("a gateway's client can't prove possession here", code="TOKEN_PROOF")
        engine = self._questions.engine
        token = await self._admission.admit(
            opening.token,
            connection=opening.connection,
            role=opening.role,
            address=opening.client_address,
            x5t=opening.client_certificate,
            people=engine.people,
        )
        trail.token = token
        role = opening.role if opening.role in token.roles else ""
        trail.subject = engine.people.subject(token, role=role)
        if not role:
            raise TokenError("the token does not carry the role that was asked for", code="TOKEN_ROLE")
        connection = self._connections.get(opening.connection)
        if connection is None:
            raise NotFoundError(
                f"there is no connection {opening.connection!r}", code="UNKNOWN_CONNECTION", next_step="Check the name."
            )
        if opening.connection in self._unfit:
            raise PolicyError(self._unfit[opening.connection], next_step="Tell whoever keeps the policy.")
        if opening.plan:
            if self._planned is None:
                raise BadRequestError("plans are not carried out here", code="NOT_SUPPORTED")
            trail.plan = await self._planned.admitted(opening.plan, trail.subject, opening.connection)
        draft = Session(
            id=new_id("ses"),
            subject=trail.subject,
            connection=opening.connection,
            environment=connection.environment,
            protocol=opening.protocol,
            client_address=opening.client_address,
            enforcer=opening.enforcer,
            opened=trail.now,
            expires=token.expires,
            plan=opening.plan,
        )
        if trail.now >= token.expires:  # a verifier may allow for skewed clocks; a session begins with time left
            raise TokenError("the token has expired", code="TOKEN_EXPIRED")
        return await self._ask_and_store(trail, draft, connection)

    async def _ask_and_store(self, trail: _Trail, session: Session, connection: Connection) -> Opened:
        """Policy is told of the closure's other sessions; one opened meanwhile by another replica sends us back to ask
        again (dynamic separation of duty: of two exclusive roles at once one wins)."""
        result = await self._allowed_and_stored(trail, session, connection, tries=1)
        if result is None:
            async with self._alone(session.subject.closure):
                result = await self._allowed_and_stored(trail, session, connection, tries=_OPEN_TRIES)
        if result is None:
            raise StateError("other sessions of this principal keep being opened", code="SESSIONS_CHANGED")
        if isinstance(result, Opened):
            return result
        await self._must_still_stand(trail, session)
        answer = Answer(
            time=trail.now,
            outcome=Outcome.ALLOW,
            reasons=result.reasons,
            obligations=result.obligations,
            revision=result.revision,
        )
        body = {
            **session_body(session),
            **answer_body(answer),
            "expires": timestamp(session.expires),
            "bound_to": list(session.subject.keys),
            "input": input_body(trail.document),
        }
        try:
            index = await self._recorder.append("session-opened", body)
        except RecordError:
            await self.end(session.id, "the log took no record of it", kind=None)
            raise
        self._cache[session.id] = session
        self._known[session.id] = None
        if trail.opening.certified:
            self._mine[session.id] = f"{trail.opening.certified}/"
        return Opened(answer=replace(answer, record=index), session=session, obligations=result.obligations)

    async def _must_still_stand(self, trail: _Trail, session: Session) -> None:
        """A revocation looks for live sessions once; one that was being opened then looks for the revocation."""
        if trail.token is None:
            return
        try:
            people = self._questions.engine.people
            await self._admission.still_stands(trail.token, session.subject.role, people)
        except DecisionError:
            await self.end(session.id, "revoked while it was opened", kind=None)
            raise

    @asynccontextmanager
    async def _alone(self, closure: Sequence[str]) -> AsyncIterator[None]:
        """One opening at a time of those that were sent back, where their closures meet: an agent that opens many kinds
        of session at once would otherwise send itself back until the tries are used up."""
        async with AsyncExitStack() as held:
            for element in sorted(set(closure)):
                await held.enter_async_context(self._opening.setdefault(element, asyncio.Lock()))
            yield

    async def _allowed_and_stored(
        self, trail: _Trail, session: Session, connection: Connection, *, tries: int
    ) -> PolicyResult | Opened | None:
        """Policy's answer once the session is stored; Opened for a denial; None when each try was sent back."""
        for _ in range(tries):
            others = await stored(self._store.live_of_closure(session.subject.closure))
            history = None
            result = await self._asked(trail, session, connection, others, None)
            if result.needs == ("history",):
                history = await self._questions.past(session.subject)
                result = await self._asked(trail, session, connection, others, history)
            if result.outcome is not Outcome.ALLOW or result.needs:
                reasons = result.reasons or (Reason("service.no-session", "policy does not allow this session"),)
                answer = denial("POLICY_DENIED", reasons, now=trail.now, revision=result.revision)
                return Opened(answer=await self._denied(trail, answer, record=True))
            try:
                seen = None if history is None else history.version
                await stored(self._store.open(session, seen=others.kinds, history=seen))
                if result.revision != self._questions.engine.revision:
                    self._outdated()
            except StateError as error:
                if error.code != "SESSIONS_CHANGED":
                    raise
            else:
                return result
        return None

    async def _asked(
        self, trail: _Trail, session: Session, connection: Connection, others: Live, history: History | None
    ) -> PolicyResult:
        trail.document = opa_input.session_question(
            subject=session.subject,
            connection=session.connection,
            kind=connection.kind,
            environment=connection.environment,
            context=opa_input.Context(
                now=trail.now,
                sessions=others.sessions,
                scopes=() if trail.token is None else trail.token.scopes,
                scoped=trail.token is None or trail.token.scoped,
                history=history,
                enforcer=trail.opening.certified,
                plan=trail.plan,
            ),
        )
        return await self._questions.ask(trail.document)

    async def _denied(self, trail: _Trail, answer: Answer, *, record: bool) -> Answer:
        self._metrics.refused(answer.code)
        if not record:
            return answer
        if trail.subject is None and not self._failed.alone(answer.code):
            return answer
        opening = trail.opening
        body: dict[str, object] = {
            "connection": opening.connection[:_TEXT],
            "role_asked": opening.role[:_TEXT],
            "protocol": opening.protocol[:_TEXT],
            "client_address": opening.client_address[:_TEXT],
            "enforcer": opening.enforcer[:_TEXT],
            **({"subject": None} if trail.subject is None else who_body(trail.subject)),
            **answer_body(answer),
            "input": input_body(trail.document),
        }
        try:
            return replace(answer, record=await self._recorder.append("session-denied", body))
        except RecordError:
            _log.warning("session-denied not recorded", code=answer.code)
            return answer

    async def record_failed_logins(self) -> None:
        """One record of the failures that got none of their own. Raises RecordError; they are kept then."""
        codes = self._failed.take()
        if not codes:
            return
        try:
            await self._recorder.append("session-denied", {"count": sum(codes.values()), "codes": codes})
        except BaseException:
            for code, number in codes.items():
                self._failed.count(code, number)
            raise

    # Ending.

    async def end(self, session: str, reason: str, *, kind: str | None, by: Subject | None = None) -> bool:
        """Close one session here, in the store, in the log and at its enforcer. True when it was open.

        `kind`: closed, revoked, silent; None when the log is what failed. It ends here even where store or log fail.
        """
        reason = reason[:_TEXT]
        if len(session) > _TEXT:
            raise BadRequestError("that is not a session's id")
        self._cache.pop(session, None)
        self._ended[session] = reason
        if kind != "closed":
            self._revocations.revoked([session], reason)
            self._metrics.sessions_revoked.inc()
        # An enforcer's own closing of its session is nothing that other replicas' enforcers wait to hear.
        was_open = await stored(self._store.close(session, reason, told=kind != "closed"))
        if was_open and kind is not None:
            await self._record_closed([_closed_body(session, reason, kind, by)])
        return was_open

    def ended_elsewhere(self, sessions: Sequence[str], reason: str) -> None:
        """Another replica has ended these, for that reason, "" where it isn't known: their enforcers may be ours."""
        reason = reason[:_TEXT] or "the session has ended"
        fresh = [session for session in sessions if session not in self._ended]
        for session in fresh:
            self._cache.pop(session, None)
            self._ended[session] = reason
        self._revocations.revoked(fresh, reason)

    async def end_many(self, sessions: Sequence[str], reason: str, *, by: Subject | None, how: str = "revoked") -> None:
        """Revoke them: cut at their enforcers at once, all of them, before store and log are told of each. `how`: for
        the record; policy, where a new revision of it is why."""
        reason = reason[:_TEXT]
        for session in sessions:
            self._cache.pop(session, None)
            self._ended[session] = reason
        self._revocations.revoked(sessions, reason)
        self._metrics.sessions_revoked.inc(len(sessions))
        closed = [session for session in sessions if await stored(self._store.close(session, reason))]
        await self._record_closed([_closed_body(session, reason, how, by) for session in closed])

    async def close_silent(self) -> Sequence[str]:
        """End the sessions of enforcers that were silent too long (design, invariant 11). Raises StoreError."""
        ended = await stored(self._store.close_silent(seconds=SILENT_S))
        if not ended:
            return ended
        reason = "the enforcer was silent"
        for session in ended:
            self._cache.pop(session, None)
            self._ended[session] = reason
        self._revocations.revoked(ended, reason)
        self._metrics.sessions_revoked.inc(len(ended))
        await self._record_closed([_closed_body(session, reason, "silent", None) for session in ended])
        return ended

    async def _record_closed(self, bodies: Sequence[dict[str, object]]) -> None:
        """Owed until it is written: a session that is closed can't be closed again to try once more."""
        self._owed.extend(bodies)
        await self.record_owed()

    async def record_owed(self) -> None:
        """Write the endings that a failing log has not taken yet. Raises RecordError."""
        owed, self._owed = self._owed, []
        if not owed:
            return
        try:
            await self._recorder.append_many([("session-closed", body) for body in owed])
        except BaseException:
            self._owed[:0] = owed
            raise

    async def enforcer_seen(self, enforcer: str) -> None:
        try:
            await stored(self._store.enforcer_seen(enforcer))
        except StoreError:
            _log.warning("an enforcer's sign of life was not stored", enforcer=enforcer[:_TEXT])


def _nothing() -> None:
    """Nobody waits to be told."""


def _closed_body(session: str, reason: str, how: str, by: Subject | None) -> dict[str, object]:
    return {"session": session, "reason": reason, "how": how, "by": None if by is None else who_body(by)}


def _check(opening: Opening) -> None:
    texts = (opening.connection, opening.role, opening.client_address, opening.plan, opening.enforcer)
    if any(len(text) > _TEXT for text in texts):
        raise BadRequestError(f"a name is longer than {_TEXT} characters")
    if opening.protocol not in _PROTOCOLS:
        raise BadRequestError("the protocol is none of postgres, kubernetes, ssh")
    if not opening.enforcer:
        raise BadRequestError("the enforcer does not say who it is")
