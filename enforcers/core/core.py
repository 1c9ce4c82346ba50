"""One worker's core: the connection to the decision service and all that its sessions share. Implements ports.Core."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2

from enforcers.core.client_tls import ClientTls
from enforcers.core.credentials import ClientCertificate, Credentials
from enforcers.core.decision_client import DecisionClient
from enforcers.core.describe_stream import DescribeStream
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.gate import Expiry, SessionGate, Shared
from enforcers.core.leases import LeaseTable, Scope
from enforcers.core.metrics import METRICS
from enforcers.core.obligations import ObligationUnmetError, read_obligations
from enforcers.core.ports import Describer, Duties, Ruling
from enforcers.core.reading import denial, denied, unavailable
from enforcers.core.recorder import Recorder
from enforcers.core.revocations import OnClassified, Revocations
from enforcers.core.supervise import Supervisor
from enforcers.core.tunnel import Tunnel
from enforcers.settings import Settings

log = structlog.get_logger("twokey.enforcers.core")


class EnforcerCore:
    """See ports.Core. Use `async with running_core(…)`."""

    def __init__(self, settings: Settings, *, protocol: str, worker: int = 0) -> None:
        # Unlike a restarted worker's: the service tells by it which sessions died with whom.
        self.instance = f"{settings.run.instance}.{worker}.{secrets.token_hex(6)}"
        self._settings = settings
        self._protocol = protocol
        trust = settings.decision_tls
        self._tls = ClientTls(trust, settings.variables) if trust is not None else None
        self._tunnel = Tunnel(settings.decision, self._tls) if self._tls is not None else None
        self._client = DecisionClient(
            target=str(settings.decision) if self._tunnel is None else self._tunnel.target,
            ca=settings.run.ca if self._tunnel is None else None,
            # Who is known by a certificate needs no secret, and gives none away.
            secret="" if trust is not None and trust.certificate is not None else settings.run.enforcer_secret,
        )
        self._leases = LeaseTable()
        self._recorder = Recorder(self._client)
        self._revocations = Revocations(self._client, self._leases, enforcer=self.instance)
        self._credentials = Credentials(settings.connections, settings.variables)
        self._drain = asyncio.Event()
        self._reloads: list[Callable[[], object]] = []
        self._tasks = Supervisor(_report)
        self._describe = DescribeStream(
            self._client, enforcer=self.instance, protocol=protocol, connections=sorted(settings.connections)
        )
        self._shared = Shared(
            client=self._client,
            leases=self._leases,
            recorder=self._recorder,
            revocations=self._revocations,
            draining=self._drain.is_set,
        )

    @property
    def draining(self) -> bool:
        return self._drain.is_set()

    async def drained(self) -> None:
        await self._drain.wait()

    def drain(self) -> None:
        """No new session and no new question from now on; what runs may finish."""
        self._drain.set()

    def attach(self, describer: Describer) -> None:
        """Who answers DescribeService's questions."""
        self._describe.use(describer)

    async def ready(self, seconds: float) -> bool:
        """Wait until the decision service was heard."""
        return await self._revocations.ready(seconds)

    async def credential(self, connection: str, role: str) -> tuple[str, str]:
        user, secret = await self._credentials.get(connection, role)
        try:
            return user, secret.reveal()
        finally:
            secret.wipe()

    def credential_refused(self, connection: str, role: str) -> None:
        self._credentials.refused(connection, role)

    async def certificate(self, connection: str, role: str) -> ClientCertificate | None:
        return await self._credentials.certificate(connection, role)

    def on_reload(self, callback: Callable[[], object]) -> None:
        self._reloads.append(callback)

    def on_classified(self, callback: OnClassified) -> None:
        self._revocations.on_classified(callback)

    def reload(self) -> None:
        """SIGHUP."""
        log.info("reloading")
        for callback in self._reloads:
            callback()
        if self._tls is not None:
            self._tasks.spawn(_reloaded(self._tls), name="reload")

    async def open_session(
        self,
        *,
        token: str,
        connection: str,
        role: str,
        client_address: str,
        on_revoked: Callable[[str], None],
        client_certificate: str = "",
        plan: str = "",
    ) -> SessionGate | Ruling:
        if self.draining:
            return denied("DRAINING", "this gateway is shutting down", hint="connect again")
        if connection not in self._settings.connections:
            name = repr(connection[:64])
            hint = "the database name chooses the connection"
            return denied("UNKNOWN_CONNECTION", f"there is no connection {name}", hint=hint)
        request = decision_pb2.OpenSessionRequest(
            token=token,
            connection=connection,
            role=role,
            protocol=self._protocol,
            client_address=client_address,
            enforcer=self.instance,
            client_certificate=client_certificate,
            plan=plan,
        )
        asked, stream = time.monotonic(), self._leases.stream
        try:
            response = await self._client.open_session(request)
        except DecisionUnavailableError as error:
            METRICS.unavailable.inc()
            log.warning("no session", connection=connection, error=str(error))
            return unavailable()
        return await self._opened(response, request, asked, stream, on_revoked)

    async def _opened(
        self,
        response: decision_pb2.OpenSessionResponse,
        request: decision_pb2.OpenSessionRequest,
        asked: float,
        stream: int,
        on_revoked: Callable[[str], None],
    ) -> SessionGate | Ruling:
        refusal = _read_refusal(response, request)
        duties = Duties()
        if refusal is None:
            try:
                duties = read_obligations([*response.obligations, *response.decision.obligations], session=True)
            except ObligationUnmetError as error:
                refusal = denied("OBLIGATION_UNMET", str(error), decision=response.decision.id)
        if refusal is not None:
            await self._abandon(response.session.id)
            return refusal
        session = response.session
        gate = SessionGate(
            self._shared,
            session=session.id,
            scope=_scope(session, request.plan),
            subject=_subject(session),
            duties=duties,
            expiry=_expiry(session, asked),
            stream=stream,
            on_close=lambda: self._credentials.closed(request.connection, request.role),
        )

        loop = asyncio.get_running_loop()

        def cut(reason: str) -> None:
            gate.revoke(reason)
            # By the loop, so that one session's trouble can't end the stream that all depend on.
            loop.call_soon(on_revoked, reason)

        self._credentials.opened(request.connection, request.role)
        METRICS.sessions.inc()
        already = self._revocations.register(session.id, cut)
        if already is not None:
            gate.revoke(already)
        over = gate.refusal()
        if over is not None:
            await gate.close("refused at open")
            return over
        return gate

    async def _abandon(self, session: str) -> None:
        """A session the service opened and this enforcer can't use."""
        if not session.startswith("ses_"):
            return
        try:
            await self._client.close_session(
                decision_pb2.CloseSessionRequest(session=session, reason="refused by the enforcer")
            )
        except DecisionUnavailableError as error:
            log.warning("session not closed at the service", session=session, error=str(error))

    async def _begin(self) -> None:
        """Before anything is asked. Raises SettingsError."""
        if self._tls is not None and self._tunnel is not None:
            await self._tls.load()
            self._tls.on_change(self._renewed)
            await self._tunnel.start()

    def _renewed(self) -> None:
        """Other certificates are in use: by a new connection from now on."""
        tunnel = self._tunnel
        if tunnel is not None:
            until = tunnel.mark()
            self._client.redial(lambda: tunnel.drop(until))

    async def _end(self) -> None:
        await self._tasks.stop(grace=0)
        await self._client.close()
        if self._tunnel is not None:
            await self._tunnel.close()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._tls is not None:
                group.create_task(self._tls.watch())
            group.create_task(self._revocations.run())
            group.create_task(self._recorder.run())
            group.create_task(self._describe.run())
            group.create_task(self._client.run())
            group.create_task(self._credentials.run())


async def _reloaded(tls: ClientTls) -> None:
    await tls.reload()


def _report(name: str, exception: BaseException) -> None:
    log.error("a task of the core failed", task=name, exc_info=exception)


def _read_refusal(
    response: decision_pb2.OpenSessionResponse, request: decision_pb2.OpenSessionRequest
) -> Ruling | None:
    """None only for a session that is wholly the one asked for."""
    decision, session = response.decision, response.session
    if decision.outcome == type_pb2.OUTCOME_DENY and not decision.needs:
        return denial(decision)
    subject = session.subject
    identities = [subject.identity, *subject.actors]
    if (
        decision.outcome != type_pb2.OUTCOME_ALLOW
        or decision.needs
        or not response.revision
        or not session.id.startswith("ses_")
        or session.connection != request.connection
        or session.role != request.role
        or subject.role != request.role
        or not session.HasField("expires")
        or not all(identity.iss and identity.sub for identity in identities)
    ):
        return denied("POLICY_INVALID", "the session's opening can't be understood", decision=decision.id)
    return None


def _scope(session: decision_pb2.Session, plan: str) -> Scope:
    subject = session.subject
    return Scope(
        subject=(subject.identity.iss, subject.identity.sub),
        actors=tuple((actor.iss, actor.sub) for actor in subject.actors),
        role=session.role,
        connection=session.connection,
        plan=plan,
    )


def _subject(session: decision_pb2.Session) -> str:
    identity = session.subject.identity
    if identity.name:
        return identity.name
    return json.dumps([identity.iss, identity.sub], separators=(",", ":"))


def _expiry(session: decision_pb2.Session, asked: float) -> Expiry:
    """How long the token still lives is counted from the service's own `opened`, so this machine's clock can't
    lengthen it; where the service sends none, this machine's time must do."""
    wall = session.expires.seconds + session.expires.nanos / 1e9
    opened = session.opened.seconds + session.opened.nanos / 1e9 if session.HasField("opened") else time.time()
    return Expiry(monotonic=asked + max(0.0, wall - opened), wall=wall)


@asynccontextmanager
async def running_core(settings: Settings, *, protocol: str, worker: int = 0) -> AsyncIterator[EnforcerCore]:
    """A core whose streams run; on leaving, the records are flushed (bounded) and the channel closed."""
    core = EnforcerCore(settings, protocol=protocol, worker=worker)
    try:
        await core._begin()  # noqa: SLF001 - the one caller, kept out of the port
        async with asyncio.TaskGroup() as group:
            background = group.create_task(core._run())  # noqa: SLF001 - the one caller, kept out of the port
            try:
                yield core
            finally:
                await core._recorder.flush_all()  # noqa: SLF001 - as above
                background.cancel()
    finally:
        await core._end()  # noqa: SLF001 - as above
