"""IssueSessionCredential: whether policy gives this caller a one-time password or an SSH certificate, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from decision.audit.record import timestamp
from decision.errors import BadRequestError, CallerError, NotFoundError, TokenError
from decision.identity import ssh
from decision.identity.admission import LIFETIME_S, Admission, host_of
from decision.identity.ssh import SshAuthority
from decision.model import Outcome, Subject, VerifiedToken
from decision.pdp import opa_input
from decision.pdp.answer import call_denied_body, refusal_text, who_body
from decision.pdp.questions import Questions
from decision.pdp.sessions import Connection
from decision.ports import Clock, Grant, Recorder

ISSUE: Final = "twokey.decision.v1.DecisionService/IssueSessionCredential"
MAX_USES: Final = 64
PASSWORD: Final = "password"  # noqa: S105 - what policy calls it
CERTIFICATE: Final = "ssh-certificate"
_TEXT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """peer: the caller's address, "" where there is none. proved: the call came with proof of the token's key."""

    subject: Subject
    token: VerifiedToken
    peer: str
    proved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A password, or the line of a certificate."""

    credential: str
    expires: datetime


class SessionCredentials:
    """bind_address: False where a balancer hides clients' addresses from this service. authority: None where the
    configuration names no key to sign SSH certificates with."""

    def __init__(
        self,
        *,
        admission: Admission,
        questions: Questions,
        recorder: Recorder,
        clock: Clock,
        connections: Mapping[str, Connection],
        bind_address: bool = True,
        authority: SshAuthority | None = None,
    ) -> None:
        self._admission = admission
        self._questions = questions
        self._recorder = recorder
        self._clock = clock
        self._connections = connections
        self._bind = bind_address
        self._authority = authority

    async def issue(self, asker: Asker, *, connection: str, role: str, uses: int) -> Issued:
        """A password for the asker's own session; `uses` 0 is 1.

        Raises BadRequestError, NotFoundError, TokenError, CallerError, PolicyError, PolicyUnavailableError, StoreError,
        RecordError."""
        uses = uses or 1
        if not 1 <= uses <= MAX_USES:
            raise BadRequestError(f"a one-time password has 1 to {MAX_USES} uses, for one connection and role")
        wanted = opa_input.CredentialContext(
            kind=PASSWORD, connection=connection, role=role, uses=uses, proved=asker.proved, command=""
        )
        now = self._clock.now()
        revision = await self._permitted(asker, wanted, now)
        address = host_of(asker.peer) if self._bind else ""
        token = asker.token
        seconds = min(float(LIFETIME_S), (token.expires - now).total_seconds())
        expires = now + timedelta(seconds=seconds)
        # First the record: a password that nobody knows of must not exist.
        body = {**_body(asker, wanted, address, expires, revision), "uses": uses}
        await self._recorder.append("credential-issued", body)
        grant = Grant(token=token, connection=connection, role=role, address=address, uses=uses)
        return Issued(credential=await self._admission.issue(grant, seconds=seconds), expires=expires)

    async def certify(self, asker: Asker, *, connection: str, role: str, public_key: str, command: str) -> Issued:
        """A certificate for `public_key` (a line as ssh-keygen writes it) and the asker's own sessions. `command`: the
        only one it is to run; "" for any.

        Raises what `issue` does."""
        if self._authority is None:
            raise BadRequestError(
                "no SSH certificates are issued here", next_step="Name the key that signs them: decision.ssh.key."
            )
        if len(command) > ssh.MAX_COMMAND or not command.isprintable():
            raise BadRequestError(f"a command is one printable line of at most {ssh.MAX_COMMAND} characters")
        key = ssh.read_public_key(public_key)
        wanted = opa_input.CredentialContext(
            kind=CERTIFICATE, connection=connection, role=role, uses=1, proved=asker.proved, command=command
        )
        now = self._clock.now()
        revision = await self._permitted(asker, wanted, now)
        address = host_of(asker.peer) if self._bind else ""
        asked = ssh.Wanted(key=key, connection=connection, role=role, command=command, address=address)
        made = self._authority.certify(asked, asker.token, now=now)
        body = {
            **_body(asker, wanted, address, made.expires, revision),
            "key_id": made.key_id,
            "serial": str(made.serial),
            "command": command,
        }
        await self._recorder.append("credential-issued", body)
        await self._admission.certified(
            Grant(token=asker.token, connection=connection, role=role, address=address, uses=0),
            serial=made.serial,
            seconds=(made.expires - now).total_seconds(),
        )
        return Issued(credential=made.text, expires=made.expires)

    async def _permitted(self, asker: Asker, wanted: opa_input.CredentialContext, now: datetime) -> str:
        """The revision that permits it. Raises what `issue` does."""
        token = asker.token
        if len(wanted.connection) > _TEXT or len(wanted.role) > _TEXT:
            raise BadRequestError("a credential is for one connection and one role")
        if wanted.connection not in self._connections:
            raise NotFoundError(f"there is no connection {wanted.connection!r}", code="UNKNOWN_CONNECTION")
        if wanted.role not in token.roles:
            raise TokenError("the token does not carry the role that was asked for", code="TOKEN_ROLE")
        await self._admission.standing.check_role(token, wanted.role)
        context = opa_input.Context(now=now, scopes=token.scopes, scoped=token.scoped, credential=wanted)
        document = opa_input.call_question(subject=asker.subject, rpc=ISSUE, context=context)
        result = await self._questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            await self._recorder.append("call-denied", call_denied_body(ISSUE, asker.subject, document, result))
            raise CallerError(refusal_text(result))
        return result.revision


def _body(
    asker: Asker, wanted: opa_input.CredentialContext, address: str, expires: datetime, revision: str
) -> dict[str, object]:
    return {
        **who_body(asker.subject),
        "credential": wanted.kind,
        "connection": wanted.connection,
        "role": wanted.role,
        "address": address,
        "expires": timestamp(expires),
        "revision": revision,
    }
