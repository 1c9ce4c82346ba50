"""Live sessions are judged again when what forbids them may have changed: walls, windows, people, sets of duties.

A decision about an operation is always of the live revision, but a result that streams was decided before, and a
session that may no longer be open could go on reading. So a new revision puts the question `session` about each open
session once more (`session.keep` instead of `session.open`), as if it were opened now: what policy denies ends within
the second, mid-result too, and its client is told by which rule. Sessions that policy can't tell apart are asked about
once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from decision.errors import DecisionError, PolicyError
from decision.model import Outcome, PolicyResult, Session
from decision.pdp import opa_input
from decision.pdp.questions import Questions
from decision.pdp.sessions import Connection, Sessions
from decision.ports import Clock, People

KEEP: Final = "session.keep"
AT_ONCE: Final = 8  # questions that wait for OPA together
AGAIN_S: Final = 0.2  # after a failure
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """reason: why it ends now, "" when it stays; ms: how long it may, where policy bounds it."""

    reason: str = ""
    ms: int | None = None


class Rejudging:
    def __init__(
        self, *, sessions: Sessions, questions: Questions, connections: Mapping[str, Connection], clock: Clock
    ) -> None:
        self._sessions = sessions
        self._questions = questions
        self._connections = connections
        self._clock = clock
        self._due = asyncio.Event()
        self._ends: dict[str, float] = {}  # by session, on the monotonic clock: at most those that were open

    def due(self) -> None:
        """What is in force has changed, or a session was opened under what no longer is."""
        self._due.set()

    async def run(self) -> None:
        """For ever. Begins with those that an earlier process left open: policy may have changed meanwhile."""
        self._due.set()
        while True:
            await self._waited()
            try:
                if self._due.is_set():
                    self._due.clear()
                    await self.judge()
                await self.end_due()
            except DecisionError as error:
                _log.warning("live sessions could not be judged again; trying on", code=error.code)
                await asyncio.sleep(AGAIN_S)
                self._due.set()

    async def judge(self) -> Sequence[str]:
        """The sessions that ended. Raises PolicyUnavailableError, StoreError, RecordError."""
        engine = self._questions.engine
        people = engine.people
        found = [_rejoined(one, people) for one in await self._sessions.list_open()]
        alike: dict[object, list[Session]] = {}
        for session in found:
            alike.setdefault(_kind(session), []).append(session)
        firsts = [some[0] for some in alike.values()]
        slots = asyncio.Semaphore(AT_ONCE)

        async def judged(session: Session) -> _Verdict:
            async with slots:
                return await self._judged(session, firsts)

        verdicts = await asyncio.gather(*map(judged, firsts))
        if engine.people is not people:
            self._due.set()  # of no one revision: what was found is found again
            return ()
        now = self._clock.monotonic()
        self._ends = {
            one.id: now + verdict.ms / 1000
            for some, verdict in zip(alike.values(), verdicts, strict=True)
            for one in some
            if verdict.ms is not None and not verdict.reason
        }
        ended: list[str] = []
        for some, verdict in zip(alike.values(), verdicts, strict=True):
            if verdict.reason:
                ids = [one.id for one in some]
                ended += ids
                await self._sessions.end_many(ids, verdict.reason, by=None, how="policy")
        return ended

    async def end_due(self) -> None:
        """End those whose window has closed, where it was moved meanwhile. Raises StoreError, RecordError."""
        now = self._clock.monotonic()
        ids = [session for session, end in self._ends.items() if end <= now]
        if ids:
            open_now = {one.id for one in await self._sessions.list_open()}
            due = [one for one in ids if one in open_now]
            await self._sessions.end_many(due, "its time is over under the policy in force", by=None, how="policy")
        for session in ids:
            self._ends.pop(session, None)

    def ends_in(self, session: str) -> float:
        """Seconds that the policy in force leaves to an open session. Raises KeyError where it bounds it by nothing."""
        return self._ends[session] - self._clock.monotonic()

    async def _waited(self) -> None:
        left = min(self._ends.values(), default=None)
        seconds = None if left is None else max(0.0, left - self._clock.monotonic())
        try:
            async with asyncio.timeout(seconds):
                await self._due.wait()
        except TimeoutError:
            return

    async def _judged(self, session: Session, others: Sequence[Session]) -> _Verdict:
        connection = self._connections.get(session.connection)
        if connection is None:
            return _Verdict("its connection is no longer configured")
        mine = frozenset(session.subject.closure)
        live = [one for one in others if mine.intersection(one.subject.closure)]
        try:
            result = await self._asked(session, connection, live)
        except PolicyError as error:
            return _Verdict(f"policy can't judge it: {error}")
        if result.outcome is Outcome.ALLOW and not result.needs:
            return _Verdict(ms=_bound(result))
        why = "; ".join(f"{one.reason} [{one.rule}]" for one in result.reasons) or "policy does not allow this session"
        return _Verdict(why)

    async def _asked(self, session: Session, connection: Connection, live: Sequence[Session]) -> PolicyResult:
        context = opa_input.Context(now=self._clock.now(), sessions=live)
        for _ in range(2):
            document = opa_input.session_question(
                subject=session.subject,
                connection=session.connection,
                kind=connection.kind,
                environment=connection.environment,
                context=context,
                action=KEEP,
            )
            result = await self._questions.ask(document)
            if result.needs != ("history",) or context.history is not None:
                return result
            context = replace(context, history=await self._questions.past(session.subject))
        return result


def _rejoined(session: Session, people: People) -> Session:
    return replace(session, subject=opa_input.rejoin(session.subject, people))


def _kind(session: Session) -> object:
    """All that policy is told of a session, but for when it is asked."""
    subject = session.subject
    return (session.connection, subject.party, subject.actors, subject.roles, subject.role, subject.closure)


def _bound(result: PolicyResult) -> int | None:
    """How long it may stay, of max-duration obligations. A malformed one leaves no time at all."""
    found = [one.parameters.get("ms") for one in result.obligations if one.type == "max-duration"]
    return min((one if isinstance(one, int) else 0 for one in found), default=None)
