"""Who calls: the enforcer's secret in constant time, or a token joined with people and asked about in policy.

A token bound to a key (RFC 9449, RFC 8705) counts only with the proof of it, made for this very call; which addresses
are ours is what the configuration says, never what the call says (`Host`, `:authority`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from decision.errors import CallerError, DecisionError, RecordError, TokenError
from decision.identity.dpop import Call, NonceError, Proofs
from decision.identity.peers import UNSHOWN, Recognised, Recognition, Shown
from decision.identity.standing import Standing
from decision.identity.svid import CertificateError
from decision.model import Outcome, Possession, Subject, VerifiedToken
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text, who_body
from decision.pdp.failed_logins import FailedLogins
from decision.pdp.questions import Questions
from decision.ports import Clock, Recorder, TokenVerifier
from decision.rpc import credentials
from decision.rpc.callers import Door
from decision.rpc.credentials import Credentials

PROVED_FOR: Final = timedelta(minutes=5)
_TEXT: Final = 256
_log = structlog.get_logger(__name__)


class DeniedCallerError(CallerError):
    """Policy denied the call, and that stands in the log with its reasons."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`subject` is None for an enforcer (and for health's anyone); `token` is what a subject brought, `jkt` the key and
    `x5t` the certificate that it is bound to and that were shown for this call. name: the enforcer's by its
    certificate, "" where the run's secret was shown, which all share."""

    enforcer: bool
    subject: Subject | None = None
    expires: datetime | None = None
    token: VerifiedToken | None = None
    jkt: str = ""
    x5t: str = ""
    name: str = ""

    def required_subject(self) -> Subject:
        """The subject behind a token. Raises CallerError for anyone else."""
        if self.subject is None:
            raise CallerError("this call is for someone with a token")
        return self.subject

    def required_token(self) -> VerifiedToken:
        """What the subject brought. Raises CallerError for anyone else."""
        if self.token is None:
            raise CallerError("this call is for someone with a token")
        return self.token

    @property
    def prefix(self) -> str:
        """What this enforcer's sessions and streams are known by begins so; "" where enforcers share the run's secret
        and can't be told apart."""
        return f"{self.name}/" if self.name else ""

    @property
    def viewer(self) -> Subject | None:
        """As decision.approvals means it: None sees all, so it is only ever an enforcer."""
        return None if self.enforcer else self.required_subject()


CALLER: ContextVar[Caller] = ContextVar("caller")


class Origins:
    """The addresses that clients know this service by, each `scheme://host:port`. Known once it listens."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._known = list(dict.fromkeys(configured))

    def add(self, origin: str) -> None:
        if origin not in self._known:
            self._known.append(origin)

    def call(self, method: str, path: str) -> Call:
        return Call(method, tuple(f"{origin}{path}" for origin in self._known))


@dataclass(frozen=True, slots=True)
class Authenticator:
    secret: str = field(repr=False)
    tokens: TokenVerifier
    questions: Questions
    recorder: Recorder
    clock: Clock
    proofs: Proofs
    standing: Standing
    grpc: Origins = field(default_factory=Origins)
    http: Origins = field(default_factory=Origins)
    refused: FailedLogins | None = None  # what of callers without an identity is recorded one by one
    recognition: Recognition | None = None  # where enforcers are known by their certificates; the secret is none's then

    async def authorize(
        self, rpc: str, door: Door, metadata: Iterable[tuple[str, str | bytes]], shown: Shown = UNSHOWN
    ) -> Caller:
        """The caller of an RPC; its proof is for `POST https://ORIGIN/RPC` (RFC 9449 over HTTP/2). `shown`: in TLS.

        Raises TokenError, CallerError, PolicyError, PolicyUnavailableError, RecordError, StoreError."""
        peer = Recognised() if self.recognition is None else self.recognition.of(shown)
        given = credentials.read(metadata, x5t=peer.x5t)
        if door is Door.ANYONE:
            return Caller(enforcer=False)
        if self.recognition is not None and (peer.enforcer or door is Door.ENFORCER or given.secret is not None):
            return self._recognised(rpc, door, given, peer)
        if given.secret is not None:
            return self._enforcer(rpc, door, given)
        if door is Door.ENFORCER:
            raise CallerError("only an enforcer may call this")
        return await self._subject(rpc, given, self.grpc.call("POST", f"/{rpc}"))

    async def authorize_http(
        self,
        action: str,
        method: str,
        path: str,
        fields: Iterable[tuple[str, str]],
        x5t: str = "",
        *,
        scoped: bool = False,
    ) -> Caller:
        """The caller of an HTTP endpoint, which policy knows as `action`. `path` as it was asked for, without a query.
        scoped: policy is shown the token's scopes.

        Raises what `authorize` does."""
        given = credentials.read(((name.lower(), value) for name, value in fields), x5t=x5t)
        if given.secret is not None:
            raise CallerError("an enforcer may not call this")
        return await self._subject(action, given, self.http.call(method, path), scoped=scoped)

    async def believe(self, given: Credentials, call: Call) -> tuple[VerifiedToken, str]:
        """The token, its keys proved for this call, and still standing; with the thumbprint that was proved.

        Raises TokenError, StoreError."""
        if given.token is None:
            raise TokenError("no token was given", code="TOKEN_MISSING")
        proof = None if given.proof is None else self.proofs.read(given.proof, call, given.token)
        jkt = "" if proof is None else proof.jkt
        verified = await self.tokens.verify(given.token, Possession(jkt=jkt, x5t=given.x5t))
        if self.clock.now() >= verified.expires:
            raise TokenError("the token has expired", code="TOKEN_EXPIRED")
        if proof is not None:
            await self.proofs.use(proof)
        await self.standing.check(verified, self.questions.engine.people)
        return verified, jkt

    async def refusal(self, rpc: str, error: DecisionError) -> None:
        """Record that a caller was refused before anybody knew who it is; floods are counted, not written."""
        if (
            not isinstance(error, TokenError | CertificateError | CallerError)
            or isinstance(error, NonceError | DeniedCallerError)
            or self.refused is None
        ):
            return  # a nonce is asked for, nothing was refused yet; or it stands in the log already
        if not self.refused.alone(error.code):
            return
        if isinstance(error, CertificateError):
            _log.warning("no enforcer's certificate", rpc=rpc, why=error.why)
        why = {"why": error.why[:_TEXT]} if isinstance(error, CertificateError) else {}
        await self._denied(rpc, {"rpc": rpc[:_TEXT], "subject": None, "code": error.code, **why})

    async def refusal_of(self, rpc: str, subject: Subject, error: DecisionError) -> None:
        """Record that a known caller was refused for what it brought or asked for, before policy was asked."""
        body = {"rpc": rpc[:_TEXT], **who_body(subject), "code": error.code, "reason": str(error)[:_TEXT]}
        await self._denied(rpc, body)

    async def record_refusals(self) -> None:
        """One record of the refusals that got none of their own. Raises RecordError; they are kept then."""
        codes = {} if self.refused is None else self.refused.take()
        if not codes or self.refused is None:
            return
        try:
            await self.recorder.append("call-denied", {"count": sum(codes.values()), "codes": codes})
        except RecordError:
            for code, number in codes.items():
                self.refused.count(code, number)
            raise

    def _enforcer(self, rpc: str, door: Door, given: Credentials) -> Caller:
        if not hmac.compare_digest((given.secret or "").encode(), self.secret.encode()):
            _log.warning("enforcer-secret-wrong", rpc=rpc)
            raise CallerError("the enforcer's secret is wrong")
        if given.token is not None:
            raise CallerError("an enforcer brings no token: nobody calls as two")
        if door is Door.BEARER:
            raise CallerError("an enforcer may not call this")
        return Caller(enforcer=True)

    def _recognised(self, rpc: str, door: Door, given: Credentials, peer: Recognised) -> Caller:
        """An enforcer by its certificate. What is wrong with it is for the log and the record, not for the caller."""
        if not peer.enforcer or given.secret is not None:
            why = peer.why or "a secret was sent where enforcers are known by certificates"
            raise CertificateError(
                "only an enforcer may call this, known by its certificate", why=f"{peer.named or '-'}: {why}"
            )
        if given.token is not None:
            raise CallerError("an enforcer brings no token: nobody calls as two")
        if door is Door.BEARER:
            raise CallerError("an enforcer may not call this")
        return Caller(enforcer=True, expires=peer.expires, name=peer.enforcer)

    async def _subject(self, rpc: str, given: Credentials, call: Call, *, scoped: bool = False) -> Caller:
        verified, jkt = await self.believe(given, call)
        subject = await self.permit(rpc, verified, scoped=scoped)
        # A proof covers the opening of a stream only, which therefore doesn't last as long as its token.
        expires = min(verified.expires, self.clock.now() + PROVED_FOR) if jkt else verified.expires
        x5t = given.x5t if f"x5t:{given.x5t}" in verified.keys else ""
        return Caller(enforcer=False, subject=subject, expires=expires, token=verified, jkt=jkt, x5t=x5t)

    async def permit(self, rpc: str, verified: VerifiedToken, *, scoped: bool = False) -> Subject:
        """The subject of what was verified, whom policy lets call `rpc`. Raises CallerError: policy denied it, which is
        recorded; PolicyError, PolicyUnavailableError."""
        subject = self.questions.engine.people.subject(verified, role="")
        context = opa_input.Context(now=self.clock.now())
        if scoped:
            context = replace(context, scopes=verified.scopes, scoped=verified.scoped)
        document = opa_input.call_question(subject=subject, rpc=rpc, context=context)
        result = await self.questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            await self._denied(rpc, call_denied_body(rpc, subject, document, result))
            raise DeniedCallerError(refusal_text(result))
        return subject

    async def _denied(self, rpc: str, body: dict[str, object]) -> None:
        try:
            await self.recorder.append("call-denied", body)
        except RecordError as error:
            _log.warning("call-denied not recorded", rpc=rpc, code=error.code)


def is_refusal_of_caller(error: DecisionError) -> bool:
    """Whether it is the caller who was refused, rather than something failing."""
    return isinstance(error, CallerError | TokenError)
