"""Who may see and end which sessions: the second question of ListSessions and Revoke, once it is known whose they are.

The first question (decision.rpc.auth) is put before the message is read, so it judges the caller alone. Here policy
sees the sessions that the call is about. What it doesn't allow isn't listed; ending it is refused, and recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from decision.errors import BadRequestError, CallerError, NotFoundError, PolicyUnavailableError, StoreError
from decision.model import JSON, IdentityKey, Outcome, Party, PolicyResult, Session, Subject
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text
from decision.pdp.questions import Questions
from decision.pdp.sessions import Sessions
from decision.ports import Clock, People, Recorder

LIST: Final = "twokey.decision.v1.DecisionService/ListSessions"
REVOKE: Final = "twokey.decision.v1.DecisionService/Revoke"
AT_ONCE: Final = 8  # questions of one listing that wait for OPA together
MAX_REASON: Final = 256
_TEXT: Final = 256
# A session of nobody that anyone knows: for a kill while the store can't say whose it is.
_NOBODY: Final = Party(identity=IdentityKey(iss="", sub=""), name="", kind="unknown", owner="", groups=())


class SessionCalls:
    def __init__(self, *, sessions: Sessions, questions: Questions, recorder: Recorder, clock: Clock) -> None:
        self._sessions = sessions
        self._questions = questions
        self._recorder = recorder
        self._clock = clock

    async def list(self, asker: Subject, *, include_closed: bool) -> Sequence[Session]:
        """Those that `asker` may see, newest first. Raises StoreError, PolicyError, PolicyUnavailableError.

        One question where one answer does (an administrator, or all are the asker's own), else one a principal."""
        found = await self._sessions.list(include_closed=include_closed)
        if not found:
            return ()
        people = self._questions.engine.people
        alike: dict[tuple[str, str, tuple[str, ...]], list[Session]] = {}
        for session in found:
            live = opa_input.rejoin(session.subject, people)
            key = (live.role, session.connection, live.closure)
            alike.setdefault(key, []).append(replace(session, subject=live))
        every = [sessions[0] for sessions in alike.values()]
        if (await self._ask(LIST, asker, every, people))[0]:
            return found
        if len(every) == 1:
            return ()
        limit = asyncio.Semaphore(AT_ONCE)

        async def shown(key: tuple[str, str, tuple[str, ...]]) -> list[str]:
            async with limit:
                allowed, _, _ = await self._ask(LIST, asker, alike[key][:1], people)
            return [session.id for session in alike[key]] if allowed else []

        ids = {one for some in await asyncio.gather(*map(shown, alike)) for one in some}
        return [session for session in found if session.id in ids]

    async def revoke(self, asker: Subject, *, session: str, reason: str) -> bool:
        """End one session, cut and recorded with who did it. True when it was open.

        Raises BadRequestError, NotFoundError, CallerError, StoreError, RecordError, PolicyError,
        PolicyUnavailableError. While the store fails, who may end anybody's session still can: it is cut here and at
        its gateway, and the error says that the store could not note it."""
        if not session.startswith("ses_") or len(session) > _TEXT:
            raise BadRequestError("that is not a session's id", next_step="`twokey sessions list` shows them.")
        if len(reason) > MAX_REASON:
            raise BadRequestError(f"a reason has at most {MAX_REASON} characters")
        people = self._questions.engine.people
        try:
            found = await self._sessions.find(session)
        except StoreError:
            found = session_of_nobody(session, self._clock.now())
        else:
            if found is None:
                raise NotFoundError("no such session", next_step="`twokey sessions list` shows those that are open.")
            found = replace(found, subject=opa_input.rejoin(found.subject, people))
        allowed, document, result = await self._ask(REVOKE, asker, [found], people)
        if not allowed:
            body = {**call_denied_body(REVOKE, asker, document, result), "session": session}
            await self._recorder.append("call-denied", body)
            raise CallerError(refusal_text(result))
        return await self._sessions.end(session, reason or "revoked", kind="revoked", by=asker)

    async def _ask(
        self, rpc: str, asker: Subject, about: Sequence[Session], people: People
    ) -> tuple[bool, JSON, PolicyResult]:
        """Policy's word, under the people that the closures in the question are of."""
        context = opa_input.Context(now=self._clock.now(), sessions=about)
        document = opa_input.call_question(subject=asker, rpc=rpc, context=context)
        result = await self._questions.ask(document)
        if self._questions.engine.people is not people:
            raise PolicyUnavailableError("the policy is being replaced; ask again")
        allowed = result.outcome is Outcome.ALLOW and not result.needs and not result.obligations
        return allowed, document, result


def session_of_nobody(session: str, now: datetime, *, closure: tuple[str, ...] = ()) -> Session:
    """What policy is asked about where nothing but an id, or a closure, is known of whose session it is."""
    who = Subject(
        party=_NOBODY, actors=(), roles=(), role="", closure=closure, acting_closure=(), token_id="", dev=False
    )
    return Session(
        id=session,
        subject=who,
        connection="",
        environment="",
        protocol="",
        client_address="",
        enforcer="",
        opened=now,
        expires=now,
    )
