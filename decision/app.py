"""The composition root: the one place that builds the service's parts and ends them in order."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc
import structlog
from aiohttp import web

from decision.approvals.service import Approvals
from decision.audit.disk import Disk
from decision.audit.log import SegmentLog
from decision.authzen.binding import Binding
from decision.authzen.evaluating import Evaluating
from decision.authzen.http import ACTION as ACCESS
from decision.authzen.parts import reconsidering
from decision.authzen.parts import routes as access_routes
from decision.authzen.request_http import ACTION as ACCESS_REQUEST
from decision.clock import SystemClock
from decision.columns import ColumnName
from decision.errors import DecisionError, PolicyLoadError, RecordError
from decision.http import Http
from decision.identity.admission import Admission
from decision.identity.dev_issuer import refuse_off_loopback, start_dev_issuer
from decision.identity.dpop import Nonces, Proofs
from decision.identity.exchange import Exchange
from decision.identity.peers import Peers, Recognition
from decision.identity.ssh import SshAuthority
from decision.identity.standing import Standing, Verdicts
from decision.identity.svid import Bundle
from decision.identity.tokens import build_verifier
from decision.metrics import Metrics
from decision.pdp.credentials import SessionCredentials
from decision.pdp.deadlines import stored
from decision.pdp.derivation import Derivation
from decision.pdp.explain import Explain
from decision.pdp.failed_logins import FailedLogins
from decision.pdp.forgetting import run_forgetting
from decision.pdp.pipeline import Pipeline
from decision.pdp.policy_changes import PolicyChanges
from decision.pdp.questions import Questions
from decision.pdp.reading import Reading
from decision.pdp.rejudging import Rejudging
from decision.pdp.review import Review
from decision.pdp.revocations import RECALLED, Revocations
from decision.pdp.revoking import Revoking
from decision.pdp.session_calls import SessionCalls
from decision.pdp.sessions import Sessions
from decision.plans.judging import reviewing_plans
from decision.plans.parts import parts
from decision.policy.bundle import PolicySources
from decision.policy.engine import Engine, start_engine
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
from decision.rpc.plan_service import PlanService
from decision.rpc.server import DRAIN_S, MutualPort, Server, Services
from decision.rpc.ssh_lists import SshLists
from decision.rpc.supervise import Supervisor
from decision.rpc.tls import Listener, Material
from decision.settings import Settings
from decision.store.engine import Store, open_store

READY_EVERY_S: Final = 0.25
LIVENESS_EVERY_S: Final = 1.0
_log = structlog.get_logger(__name__)


def _trust(material: Material) -> tuple[Bundle, Peers]:
    if material.clients is None or material.peers is None:
        raise PolicyLoadError("the mutual listener has no authorities or no enforcers")
    return material.clients, material.peers


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
        self._stopping = False
        self._listeners: list[Listener] = []
        self._web = ""  # the origin of the pages, where there are any

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
        self.metrics = metrics = Metrics(rpcs=[*DOORS, EXCHANGE, ACCESS, ACCESS_REQUEST])
        self.log = log = await SegmentLog.open(settings.audit_dir, clock=clock, disk=self._disk)
        self._parts.push_async_callback(log.close)
        self.store = store = await open_store(
            settings.store,
            password=settings.store_password.get_secret_value() if settings.store_password is not None else None,
            clock=clock,
        )
        self._parts.push_async_callback(store.close)
        clock = store.clock  # from here on: a clock set back, also across a restart, revives no session and no token
        self._changes = changes = PolicyChanges(log, store.history, Path(run.state_dir))
        self.engine = engine = await start_engine(
            PolicySources.from_settings(self._document),
            OpaSettings.from_settings(self._document),
            on_event=changes.on_engine_event,
            watch=self._watch,
            derived=store.derived.read,
        )
        self._parts.push_async_callback(engine.close)
        self.dev_issuer = None
        if run.dev:
            self.dev_issuer = await start_dev_issuer(Path(run.state_dir), people=lambda: engine.people)
            self._parts.push_async_callback(self.dev_issuer.close)
        # Not of the enforcers' secret: who knows this key can be anyone, and they are believed for less.
        exchange = Exchange(settings.exchange_secret, dev=run.dev)
        verifier = build_verifier(
            settings.identity.issuers, dev=run.dev, dev_issuer=self.dev_issuer, own=[exchange.trusted]
        )
        self._parts.push_async_callback(verifier.close)

        standing = Standing(store.tokens)
        authority = None if settings.ssh is None else SshAuthority.read(settings.ssh.key.get_secret_value())
        self.admission = Admission(verifier, store.tokens, standing)
        connections = {connection.name: connection for connection in settings.connections}
        kinds = {name: connection.kind for name, connection in connections.items()}
        verdicts = Verdicts(store.tokens)
        questions = Questions(engine, clock, metrics, budgets=store.budgets, history=store.history, verdicts=verdicts)
        self.revocations = Revocations(engine.revision, engine.classified)
        self.revocations.recall(await stored(store.sessions.closed_last(RECALLED)))
        engine.on_change(lambda revision: self._on_revision(revision, engine.classified))
        hub = DescribeHub()
        maskers = MaskerCheck(hub)
        engine.vetted_by(maskers.vet)
        self.planning = planning = parts(
            store=store.plans,
            approvals=store.approvals,
            describer=hub,
            questions=questions,
            recorder=log,
            clock=clock,
            connections=connections,
            ends=self._parts,
        )
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
            planned=planning.executing,
        )
        store.on_ended_elsewhere(self.sessions.ended_elsewhere)
        self.rejudging = Rejudging(sessions=self.sessions, questions=questions, connections=connections, clock=clock)
        self.sessions.when_outdated(self.rejudging.due)
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
            derivation=self._derivation(store, engine, log),
            planned=planning.executing,
        )
        review = Review(questions=questions, clock=clock, kinds=kinds)
        denials = Binding(run.tls.key.get_secret_value().encode())
        evaluating = Evaluating(
            questions=questions,
            foreign=engine,
            recorder=log,
            clock=clock,
            metrics=metrics,
            binding=denials,
            approvals=store.approvals,
            verdicts=verdicts,
        )
        self.approvals = Approvals(
            store=store.approvals,
            engine=engine,
            recorder=log,
            clock=clock,
            reconsider=reconsidering(reviewing_plans(review.reconsider, planning.judging), evaluating),
            review_document=review.document,
            past=review.past,
        )
        self.reading = reading = Reading(questions=questions, clock=clock, kinds=kinds)
        supervisor = self._supervisor = Supervisor()
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
                authority=authority,
            ),
            revocations=self.revocations,
            explain=explain,
            supervisor=self._supervisor,
            metrics=metrics,
        )
        secret = run.enforcer_secret.get_secret_value()
        shown, asking, recognition = await self._load_tls(clock)
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
            recognition=recognition,
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
                planned=planning.executing,
            ),
            plan=PlanService(planning.plans, reading, self._supervisor),
            describe=hub,
            guard=self.guard,
        )
        await self._record_start()
        self.ssh_lists = lists = SshLists(
            authority, store=store.tokens, standing=standing, people=lambda: engine.people, clock=clock
        )
        engine.on_change(lambda _revision: lists.forget())  # other people, other closures
        await self._listen(
            services,
            [
                *exchanging.routes(),
                *lists.routes(),
                *access_routes(
                    authenticator=self.authenticator,
                    evaluating=evaluating,
                    approvals=self.approvals,
                    store=store.approvals,
                    denials=denials,
                    recorder=log,
                    clock=clock,
                    metrics=metrics,
                    supervisor=supervisor,
                    questions=questions,
                ),
            ],
            shown,
            asking,
        )

    async def _listen(
        self, services: Services, routes: Sequence[web.RouteDef], shown: Listener | None, asking: Listener | None
    ) -> None:
        settings = self._settings
        run = settings.run
        own = run.tls.key.get_secret_value().encode(), run.tls.cert.encode()
        self.server = await Server.start(
            settings.grpc,
            credentials=shown.grpc(ask=False) if shown is not None else grpc.ssl_server_credentials([own]),
            mutual=MutualPort(address=settings.mutual.listen, credentials=asking.grpc(ask=True))
            if asking is not None and settings.mutual is not None
            else None,
            services=services,
            dev=run.dev,
        )
        self._parts.push_async_callback(self.server.drain, 0.0)
        for address in filter(None, (self.server.address, self.server.mutual)):
            self.authenticator.grpc.add(f"https://{address}")
        self.http = await Http.start(
            settings.http,
            metrics=self.metrics,
            ready=lambda: self.ready,
            routes=routes,
            tls=shown.context() if shown is not None else None,
        )
        self._parts.push_async_callback(self.http.close)
        self.authenticator.http.add(f"{'http' if shown is None else 'https'}://{self.http.address}")
        if settings.web is not None:
            from decision.web.server import open_pages  # noqa: PLC0415 - with Jinja and Pygments

            self._web, close = await open_pages(settings, self, self._listeners)
            self._parts.push_async_callback(close)
        await self._tell_ready()

    def _derivation(self, store: Store, engine: Engine, log: SegmentLog) -> Derivation:
        made = Derivation(store=store.derived, engine=engine, recorder=log)
        self._parts.push_async_callback(made.close)
        return made

    async def _load_tls(self, clock: Clock) -> tuple[Listener | None, Listener | None, Recognition | None]:
        """Of the listeners that everybody calls, and of the one that asks for certificates; who they are of. Raises
        TlsError."""
        settings, metrics = self._settings, self.metrics
        shown = asking = recognition = None
        if settings.tls is not None:
            shown = Listener("decision", settings.tls, metrics=metrics, now=clock.now)
            self._listeners.append(shown)
            await shown.load()
        if settings.mutual is not None:
            asking = Listener("mutual", settings.mutual.tls, metrics=metrics, now=clock.now)
            self._listeners.append(asking)
            await asking.load()
            recognition = Recognition(*_trust(asking.material), clock.now)
            asking.on_change(self._on_trust)
        return shown, asking, recognition

    def _on_trust(self, material: Material) -> None:
        """The mutual listener's certificate, its authorities or the list of enforcers were read again."""
        if self.authenticator.recognition is not None:
            self.authenticator.recognition.replace(*_trust(material))
        self.guard.recheck()

    @property
    def ready(self) -> bool:
        """Whether a decision could be made and recorded now."""
        return not self._stopping and self.engine.ready and self.log.healthy

    @property
    def ready_line(self) -> dict[str, object]:
        line: dict[str, object] = {"ready": True, "grpc": self.server.address, "http": self.http.address}
        named = {"mutual": self.server.mutual, "web": self._web}
        return {**line, **{name: where for name, where in named.items() if where}}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises an ExceptionGroup when a background part failed: the service then must end."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._watch_readiness()),
                group.create_task(self._watch_liveness()),
                group.create_task(self.approvals.run_sweeper()),
                group.create_task(self.planning.executing.run_sweeper()),
                group.create_task(self._changes.run()),
                group.create_task(run_forgetting(self.store.history)),
                *(group.create_task(listener.watch()) for listener in self._listeners),
                group.create_task(self.rejudging.run()),
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
        """SIGHUP: policy, people, classification; all or nothing. Of each listener its certificates likewise."""
        for listener in self._listeners:
            await listener.reload()
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
        self.rejudging.due()
        self._changes.in_force(self.engine.policy)

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
        await self._changes.started(self.engine.policy, started)
