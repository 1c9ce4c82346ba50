"""The composition root: the one place that builds the service's parts and ends them in order."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from decision.approvals.service import Approvals
from decision.audit.disk import Disk
from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from decision.columns import ColumnName
from decision.errors import DecisionError, PolicyLoadError, RecordError, StoreError
from decision.http import Http
from decision.identity.admission import Admission
from decision.identity.dev_issuer import refuse_off_loopback, start_dev_issuer
from decision.identity.dpop import Nonces, Proofs
from decision.identity.exchange import Exchange
from decision.identity.people import OS_ISSUER
from decision.identity.standing import Standing
from decision.identity.tokens import build_verifier
from decision.metrics import Metrics
from decision.model import IdentityKey
from decision.pdp.credentials import SessionCredentials
from decision.pdp.deadlines import stored
from decision.pdp.explain import Explain
from decision.pdp.failed_logins import FailedLogins
from decision.pdp.pipeline import Pipeline
from decision.pdp.questions import Questions
from decision.pdp.reading import Reading
from decision.pdp.review import Review
from decision.pdp.revocations import RECALLED, Revocations
from decision.pdp.revoking import Revoking
from decision.pdp.session_calls import SessionCalls
from decision.pdp.sessions import Sessions
from decision.policy.bundle import PolicySources, changed
from decision.policy.engine import start_engine
from decision.policy.opa_process import OpaSettings
from decision.ports import Clock
from decision.rpc.approval_service import ApprovalService
from decision.rpc.audit_service import AuditService
from decision.rpc.auth import Authenticator, Origins
from decision.rpc.callers import DOORS
from decision.rpc.decision_service import DecisionService
from decision.rpc.describe_hub import DescribeHub
from decision.rpc.exchange import ACTION as EXCHANGE
from decision.rpc.exchange import TokenExchange
from decision.rpc.guard import Guard
from decision.rpc.masker_check import MaskerCheck
from decision.rpc.server import DRAIN_S, Server, ServerTls, Services
from decision.rpc.supervise import Supervisor
from decision.settings import Settings
from decision.store.engine import open_store

READY_EVERY_S: Final = 0.25
LIVENESS_EVERY_S: Final = 1.0
_EVENTS: Final = 1024
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    revision: str
    event: str
    reason: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)  # file -> whose it is


class Service:
    """One decision service: `start`, then `run` until it is told to stop, then `stop`."""

    def __init__(
        self,
        settings: Settings,
        document: Mapping[str, object],
        *,
        disk: Disk | None = None,
        clock: Clock | None = None,
        watch: bool = True,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._settings = settings
        self._document = document
        self._disk = disk
        self._clock = clock or SystemClock()
        self._watch = watch
        self._drain_s = drain_s
        self._parts = AsyncExitStack()
        self._events: asyncio.Queue[_Event] = asyncio.Queue(_EVENTS)
        self._stopping = False

    async def start(self) -> None:
        """Build and listen. Raises DecisionError or OSError; what was built by then is ended again."""
        try:
            await self._start()
        except BaseException:
            await self._parts.aclose()
            raise

    async def _start(self) -> None:
        settings, clock = self._settings, self._clock
        run = settings.run
        if run.dev:
            refuse_off_loopback([], settings.store)
        self.metrics = metrics = Metrics(rpcs=[*DOORS, EXCHANGE])
        self.log = log = await SegmentLog.open(settings.audit_dir, clock=clock, disk=self._disk)
        self._parts.push_async_callback(log.close)
        self.store = store = await open_store(settings.store, clock=clock)
        self._parts.push_async_callback(store.close)
        clock = store.clock  # from here on: a clock set back, also across a restart, revives no session and no token
        self.engine = engine = await start_engine(
            PolicySources.from_settings(self._document),
            OpaSettings.from_settings(self._document),
            on_event=self._on_engine_event,
            watch=self._watch,
        )
        self._parts.push_async_callback(engine.close)
        self._policy = engine.policy
        self.dev_issuer = None
        if run.dev:
            self.dev_issuer = await start_dev_issuer(Path(run.state_dir), people=lambda: engine.people)
            self._parts.push_async_callback(self.dev_issuer.close)
        # Not of the enforcers' secret: who knows this key can be anyone, and they are believed for less.
        exchange = Exchange(run.tls.key.get_secret_value().encode(), dev=run.dev)
        verifier = build_verifier(
            settings.identity.issuers, dev=run.dev, dev_issuer=self.dev_issuer, own=[exchange.trusted]
        )
        self._parts.push_async_callback(verifier.close)

        standing = Standing(store.tokens)
        self.admission = Admission(verifier, store.tokens, standing)
        connections = {connection.name: connection for connection in settings.connections}
        kinds = {name: connection.kind for name, connection in connections.items()}
        questions = Questions(engine, clock, metrics, budgets=store.budgets, history=store.history)
        self.revocations = Revocations(engine.revision, engine.classified)
        self.revocations.recall(await stored(store.sessions.closed_last(RECALLED)))
        engine.on_change(lambda revision: self._on_revision(revision, engine.classified))
        hub = DescribeHub()
        maskers = MaskerCheck(hub)
        engine.vetted_by(maskers.vet)
        self.sessions = Sessions(
            store=store.sessions,
            questions=questions,
            admission=self.admission,
            recorder=log,
            revocations=self.revocations,
            clock=clock,
            metrics=metrics,
            connections=connections,
            unfit=maskers.unfit,
        )
        store.on_ended_elsewhere(self.sessions.ended_elsewhere)
        pipeline = Pipeline(
            questions=questions,
            sessions=self.sessions,
            approvals=store.approvals,
            budgets=store.budgets,
            history=store.history,
            recorder=log,
            clock=clock,
            metrics=metrics,
            kinds=kinds,
        )
        review = Review(questions=questions, clock=clock, kinds=kinds)
        self.approvals = Approvals(
            store=store.approvals,
            engine=engine,
            recorder=log,
            clock=clock,
            reconsider=review.reconsider,
            review_document=review.document,
            past=review.past,
        )
        self.reading = reading = Reading(questions=questions, clock=clock, kinds=kinds)
        self._supervisor = Supervisor()
        supervisor = self._supervisor
        hub.on_attached(lambda names: supervisor.start(maskers.attached(names, engine.policy)))
        explain = Explain(questions=questions, describer=hub, recorder=log, clock=clock, connections=connections)
        self.decision = DecisionService(
            pipeline=pipeline,
            sessions=self.sessions,
            session_calls=SessionCalls(sessions=self.sessions, questions=questions, recorder=log, clock=clock),
            revoking=Revoking(
                sessions=self.sessions, store=store.tokens, questions=questions, recorder=log, clock=clock
            ),
            credentials=SessionCredentials(
                admission=self.admission,
                questions=questions,
                recorder=log,
                clock=clock,
                connections=connections,
                bind_address=settings.identity.bind_address,
            ),
            revocations=self.revocations,
            explain=explain,
            supervisor=self._supervisor,
            metrics=metrics,
        )
        secret = run.enforcer_secret.get_secret_value()
        failed = FailedLogins(clock)
        nonces = Nonces(hmac.digest(secret.encode(), b"dpop-nonces", "sha256")) if settings.identity.nonces else None
        self.authenticator = Authenticator(
            secret=secret,
            tokens=verifier,
            questions=questions,
            recorder=log,
            clock=clock,
            proofs=Proofs(store.tokens, nonces, lambda: clock.now().timestamp()),
            standing=standing,
            grpc=Origins(settings.public.grpc),
            http=Origins(settings.public.http),
            refused=failed,
        )
        exchanging = TokenExchange(
            exchange=exchange,
            authenticator=self.authenticator,
            store=store.tokens,
            recorder=log,
            metrics=metrics,
        )
        self.guard = Guard(self.authenticator, clock, metrics)
        services = Services(
            decision=self.decision,
            approval=ApprovalService(self.approvals, reading, self._supervisor),
            audit=AuditService(
                log=log,
                sessions=self.sessions,
                approvals=store.approvals,
                reading=reading,
                supervisor=self._supervisor,
                metrics=metrics,
            ),
            describe=hub,
            guard=self.guard,
        )
        await self._record_start()
        tls = ServerTls(cert=run.tls.cert.encode(), key=run.tls.key.get_secret_value().encode())
        self.server = await Server.start(settings.grpc, tls=tls, services=services, dev=run.dev)
        self._parts.push_async_callback(self.server.drain, 0.0)
        self.authenticator.grpc.add(f"https://{self.server.address}")
        self.http = await Http.start(
            settings.http, metrics=metrics, ready=lambda: self.ready, routes=exchanging.routes()
        )
        self._parts.push_async_callback(self.http.close)
        self.authenticator.http.add(f"http://{self.http.address}")
        await self._tell_ready()

    @property
    def ready(self) -> bool:
        """Whether a decision could be made and recorded now."""
        return not self._stopping and self.engine.ready and self.log.healthy

    @property
    def ready_line(self) -> dict[str, object]:
        return {"ready": True, "grpc": self.server.address, "http": self.http.address}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises an ExceptionGroup when a background part failed: the service then must end."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._watch_readiness()),
                group.create_task(self._watch_liveness()),
                group.create_task(self.approvals.run_sweeper()),
                group.create_task(self._record_events()),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """Drain: nothing new, running calls end, records flush."""
        self._stopping = True
        await self._tell_ready()
        self.revocations.close()
        await self.server.drain(self._drain_s)
        await self._supervisor.drain(5.0)
        try:
            await self.sessions.record_failed_logins()
            await self.authenticator.record_refusals()
            await self.log.append("stopped", {"instance": self._settings.run.instance})
        except RecordError:
            _log.warning("the stop was not recorded")
        await self._parts.aclose()

    async def reload(self) -> None:
        """SIGHUP: policy, people, classification; all or nothing."""
        try:
            await self.engine.reload()
        except PolicyLoadError as error:
            _log.error("reload refused; the old policy stays", code=error.code, reason=str(error))

    # Background.

    async def _tell_ready(self) -> None:
        ready = self.ready
        self.metrics.ready.set(int(ready))
        self.metrics.records.set(self.log.size)
        await self.server.set_ready(ready)

    async def _watch_readiness(self) -> None:
        while True:
            await self._tell_ready()
            await asyncio.sleep(READY_EVERY_S)

    async def _watch_liveness(self) -> None:
        while True:
            await asyncio.sleep(LIVENESS_EVERY_S)
            try:
                for enforcer in self.decision.watching:
                    await self.sessions.enforcer_seen(enforcer)
                await self.sessions.close_silent()
                await self.sessions.record_owed()
                await self.sessions.record_failed_logins()
                await self.authenticator.record_refusals()
            except DecisionError as error:
                _log.warning("sessions could not be tended", code=error.code)

    def _on_revision(self, revision: str, classified: Mapping[str, tuple[ColumnName, ...]]) -> None:
        self.revocations.revised(revision, classified)
        before, self._policy = self._policy, self.engine.policy
        self._enqueue(_Event(revision, "in-force", changed=changed(before, self._policy)))

    def _on_engine_event(self, name: str, fields: Mapping[str, str]) -> None:
        if name not in ("policy-loaded", "opa-started"):  # the first is `_on_revision`'s, the second changes nothing
            self._enqueue(_Event(fields.get("revision", ""), name, fields.get("reason", "")[:4000]))

    def _enqueue(self, event: _Event) -> None:
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            _log.error("a policy event was not recorded", policy_event=event.event, revision=event.revision)

    async def _record_events(self) -> None:
        while True:
            event = await self._events.get()
            people = self._policy.people
            by = {owner: people.closure(IdentityKey(OS_ISSUER, owner)) for owner in event.changed.values()}
            body: dict[str, object] = {"event": event.event, "revision": event.revision, "reason": event.reason}
            if event.changed:
                body["changed"] = [{"file": file, "owner": owner} for file, owner in event.changed.items()]
                body["by"] = sorted({element for closure in by.values() for element in closure})
            while True:
                try:
                    await self.log.append("policy", body)
                    await self.store.history.policy_changed(list(by.values()))
                    break
                except (RecordError, StoreError):  # the record once more rather than a change that nobody made
                    await asyncio.sleep(1.0)

    async def _record_start(self) -> None:
        settings = self._settings
        started = {
            "instance": settings.run.instance,
            "dev": settings.run.dev,
            "recovered_bytes": self.log.recovered_bytes,
            "connections": [
                {"name": item.name, "kind": item.kind, "environment": item.environment} for item in settings.connections
            ],
        }
        policy = {"event": "in-force", "revision": self.engine.revision, "reason": "start"}
        await self.log.append_many([("started", started), ("policy", policy)])
