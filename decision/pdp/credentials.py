"""IssueSessionCredential: whether policy gives this caller a one-time password, for what, and of how many uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from decision.audit.record import timestamp
from decision.errors import BadRequestError, CallerError, NotFoundError, TokenError
from decision.identity.admission import LIFETIME_S, Admission, host_of
from decision.model import Outcome, Subject, VerifiedToken
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text, who_body
from decision.pdp.questions import Questions
from decision.pdp.sessions import Connection
from decision.ports import Clock, Grant, Recorder

ISSUE: Final = "twokey.decision.v1.DecisionService/IssueSessionCredential"
MAX_USES: Final = 64
_TEXT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    password: str
    expires: datetime


class SessionCredentials:
    """bind_address: False where a balancer hides clients' addresses from this service."""

    def __init__(
        self,
        *,
        admission: Admission,
        questions: Questions,
        recorder: Recorder,
        clock: Clock,
        connections: Mapping[str, Connection],
        bind_address: bool = True,
    ) -> None:
        self._admission = admission
        self._questions = questions
        self._recorder = recorder
        self._clock = clock
        self._connections = connections
        self._bind = bind_address

    async def issue(
        self, asker: Subject, token: VerifiedToken, *, connection: str, role: str, uses: int, peer: str
    ) -> Issued:
        """A password for the asker's own session. `peer`: the caller's address, "" where there is none; `uses` 0 is 1.

        Raises BadRequestError, NotFoundError, TokenError, CallerError, PolicyError, PolicyUnavailableError, StoreError,
        RecordError."""
        uses = uses or 1
        if not 1 <= uses <= MAX_USES or len(connection) > _TEXT or len(role) > _TEXT:
            raise BadRequestError(f"a one-time password has 1 to {MAX_USES} uses, for one connection and role")
        if connection not in self._connections:
            raise NotFoundError(f"there is no connection {connection!r}", code="UNKNOWN_CONNECTION")
        if role not in token.roles:
            raise TokenError("the token does not carry the role that was asked for", code="TOKEN_ROLE")
        await self._admission.standing.check_role(token, role)
        now = self._clock.now()
        wanted = opa_input.CredentialContext(connection=connection, role=role, uses=uses)
        context = opa_input.Context(now=now, scopes=token.scopes, scoped=token.scoped, credential=wanted)
        document = opa_input.call_question(subject=asker, rpc=ISSUE, context=context)
        result = await self._questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            await self._recorder.append("call-denied", call_denied_body(ISSUE, asker, document, result))
            raise CallerError(refusal_text(result))
        address = host_of(peer) if self._bind else ""
        seconds = min(float(LIFETIME_S), (token.expires - now).total_seconds())
        expires = now + timedelta(seconds=seconds)
        # First the record: a password that nobody knows of must not exist.
        body = {
            **who_body(asker),
            "connection": connection,
            "role": role,
            "uses": uses,
            "address": address,
            "expires": timestamp(expires),
            "revision": result.revision,
        }
        await self._recorder.append("credential-issued", body)
        grant = Grant(token=token, connection=connection, role=role, address=address, uses=uses)
        return Issued(password=await self._admission.issue(grant, seconds=seconds), expires=expires)
