"""Revoking a token, a person, an agent or a role: what was issued until now is cut off, and its sessions end at once.

A session is ended by decision.pdp.session_calls; its client may come again with the same token. Here the token itself
stops: on every replica, because each asks the store before it believes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from decision.errors import BadRequestError, CallerError, NotFoundError
from decision.identity.people import DEV_ISSUER, EXCHANGE_ISSUER
from decision.model import IdentityKey, Outcome, Session, Subject, VerifiedToken, token_key
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text, who_body
from decision.pdp.questions import Questions
from decision.pdp.session_calls import MAX_REASON, REVOKE, session_of_nobody
from decision.pdp.sessions import Sessions
from decision.ports import Clock, People, Recorder, TokenStore

_TEXT: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Exactly one of token (with its issuer), party and role."""

    token: str = ""
    issuer: str = ""
    party: str = ""
    role: str = ""

    @property
    def kind(self) -> str:
        """token, party or role; "" for none. Raises BadRequestError for more than one, or half of one."""
        given = [name for name in ("token", "party", "role") if getattr(self, name)]
        if len(given) > 1 or bool(self.token) != bool(self.issuer):
            raise BadRequestError("revoke one thing: a session, a token with its issuer, a party or a role")
        if any(len(text) > _TEXT for text in (self.token, self.issuer, self.party, self.role)):
            raise BadRequestError(f"a name has at most {_TEXT} characters")
        return given[0] if given else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    sessions: int
    tokens: int


class Revoking:
    def __init__(
        self, *, sessions: Sessions, store: TokenStore, questions: Questions, recorder: Recorder, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._questions = questions
        self._recorder = recorder
        self._clock = clock

    async def revoke(self, asker: Subject, target: Target, *, reason: str) -> Revoked:
        """Cut off, end what lives of it, and record both with who did it.

        Raises BadRequestError, NotFoundError, CallerError, StoreError, RecordError, PolicyError,
        PolicyUnavailableError."""
        if len(reason) > MAX_REASON:
            raise BadRequestError(f"a reason has at most {MAX_REASON} characters")
        kind, people = target.kind, self._questions.engine.people
        value = self._value(target, kind, people)
        await self._permit(asker, closure=_closure(value, people) if kind == "party" else ())
        reason = reason or "revoked"
        cut = await self._store.cut(kind, [value], reason)
        # After the cut: a session that opens meanwhile is either refused or found here.
        ended = [one.id for one in await self._sessions.list_open() if _meets(one, kind, frozenset(cut))]
        body = {**who_body(asker), "what": kind, "value": value[:_TEXT], "reason": reason, "sessions": len(ended)}
        try:
            await self._recorder.append("revoked", body)
        finally:
            await self._sessions.end_many(ended, reason, by=asker)
        return Revoked(sessions=len(ended), tokens=len(cut) if kind == "token" else 0)

    def _value(self, target: Target, kind: str, people: People) -> str:
        if kind == "token":
            return token_key(target.issuer, target.token).hex()
        if kind == "role":
            return target.role
        if people.by_name(target.party) is not None:
            return target.party
        identity = _identity(target.party)
        if identity is None:
            raise NotFoundError("people.yaml has nobody of that name", next_step='Or give an identity: ["iss","sub"].')
        return people.party(identity).name or target.party  # closures hold the name of whom people.yaml knows

    async def _permit(self, asker: Subject, *, closure: tuple[str, ...]) -> None:
        """Policy's word, as about a session of whoever it is; a token's and a role's are of nobody that is known."""
        now = self._clock.now()
        about = session_of_nobody("", now, closure=closure)
        context = opa_input.Context(now=now, sessions=[about])
        document = opa_input.call_question(subject=asker, rpc=REVOKE, context=context)
        result = await self._questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            await self._recorder.append("call-denied", call_denied_body(REVOKE, asker, document, result))
            raise CallerError(refusal_text(result))


def _closure(party: str, people: People) -> tuple[str, ...]:
    """Of a party by its name: with its owners, who may end what is theirs. Of a stranger: itself."""
    found = people.by_name(party)
    if found is None:
        return (party,)
    token = VerifiedToken(
        identity=found.identity,
        actors=(),
        roles=(),
        expires=datetime.max.replace(tzinfo=UTC),
        token_id="",
        dev=False,
    )
    return people.subject(token, role="").closure


def _meets(session: Session, kind: str, cut: frozenset[str]) -> bool:
    if kind == "party":
        return bool(cut.intersection(session.subject.closure))
    if kind == "role":
        return session.subject.role in cut
    # A session knows its token's id, and of whom it is; the token is that issuer's, or one of this service's own.
    issuers = (session.subject.party.identity.iss, DEV_ISSUER, EXCHANGE_ISSUER)
    return any(token_key(issuer, session.subject.token_id).hex() in cut for issuer in issuers)


def _identity(text: str) -> IdentityKey | None:
    """As decision.identity.people spells those it doesn't know."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    two = isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) and part for part in value)
    return IdentityKey(value[0], value[1]) if two and orjson.dumps(value).decode() == text else None
