"""Who calls: the enforcer's secret in constant time, or a token joined with people and asked about in policy."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from decision.errors import CallerError, DecisionError, RecordError, TokenError
from decision.model import Outcome, Subject
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text
from decision.pdp.questions import Questions
from decision.ports import Clock, Recorder, TokenVerifier
from decision.rpc.callers import Door

ENFORCER_KEY: Final = "x-twokey-enforcer"
TOKEN_KEY: Final = "authorization"  # noqa: S105 - the name of a header
_SCHEME: Final = "bearer "
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """`subject` is None for an enforcer (and for health's anyone)."""

    enforcer: bool
    subject: Subject | None = None
    expires: datetime | None = None

    def required_subject(self) -> Subject:
        """The subject behind a token. Raises CallerError for anyone else."""
        if self.subject is None:
            raise CallerError("this call is for someone with a token")
        return self.subject

    @property
    def viewer(self) -> Subject | None:
        """As decision.approvals means it: None sees all, so it is only ever an enforcer."""
        return None if self.enforcer else self.required_subject()


CALLER: ContextVar[Caller] = ContextVar("caller")


@dataclass(frozen=True, slots=True)
class Authenticator:
    secret: str = field(repr=False)
    tokens: TokenVerifier
    questions: Questions
    recorder: Recorder
    clock: Clock

    async def authorize(self, rpc: str, door: Door, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """The caller of `rpc`. Raises TokenError, CallerError, PolicyError, PolicyUnavailableError, RecordError."""
        secret, token = _credentials(metadata)
        if door is Door.ANYONE:
            return Caller(enforcer=False)
        if secret is not None:
            return self._enforcer(rpc, door, secret, token)
        if door is Door.ENFORCER:
            raise CallerError("only an enforcer may call this")
        if token is None:
            raise TokenError("no token was given", code="TOKEN_MISSING")
        return await self._subject(rpc, token)

    def _enforcer(self, rpc: str, door: Door, secret: str, token: str | None) -> Caller:
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            _log.warning("enforcer-secret-wrong", rpc=rpc)
            raise CallerError("the enforcer's secret is wrong")
        if token is not None:
            raise CallerError("an enforcer brings no token: nobody calls as two")
        if door is Door.BEARER:
            raise CallerError("an enforcer may not call this")
        return Caller(enforcer=True)

    async def _subject(self, rpc: str, token: str) -> Caller:
        verified = await self.tokens.verify(token)
        now = self.clock.now()
        if now >= verified.expires:
            raise TokenError("the token has expired", code="TOKEN_EXPIRED")
        subject = self.questions.engine.people.subject(verified, role="")
        document = opa_input.call_question(subject=subject, rpc=rpc, context=opa_input.Context(now=now))
        result = await self.questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            await self._denied(rpc, call_denied_body(rpc, subject, document, result))
            raise CallerError(refusal_text(result))
        return Caller(enforcer=False, subject=subject, expires=verified.expires)

    async def _denied(self, rpc: str, body: dict[str, object]) -> None:
        try:
            await self.recorder.append("call-denied", body)
        except RecordError as error:
            _log.warning("call-denied not recorded", rpc=rpc, code=error.code)


def _credentials(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str | None, str | None]:
    """(enforcer's secret, bearer token). Each at most once: two of one kind are an attempt at confusion."""
    secret: str | None = None
    token: str | None = None
    for key, value in metadata:
        if key not in (ENFORCER_KEY, TOKEN_KEY):
            continue
        if not isinstance(value, str):
            raise TokenError("a credential is not text", code="TOKEN_MALFORMED")
        if key == ENFORCER_KEY:
            if secret is not None:
                raise CallerError("the enforcer's secret is given twice")
            secret = value
        else:
            if token is not None:
                raise TokenError("two tokens were given", code="TOKEN_MALFORMED")
            token = _bearer(value)
    return secret, token


def _bearer(value: str) -> str:
    if value[: len(_SCHEME)].lower() != _SCHEME:
        raise TokenError("the authorization is not a bearer token", code="TOKEN_MALFORMED")
    return value[len(_SCHEME) :].strip()


def is_refusal_of_caller(error: DecisionError) -> bool:
    """Whether it is the caller who was refused, rather than something failing."""
    return isinstance(error, CallerError | TokenError)
