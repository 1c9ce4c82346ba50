"""`twokey up`: starts the decision service and the enforcers, keeps them running, and takes them down in order.

It is the only process that sees the whole configuration. It holds no policy and makes no decision: while a part is
down, the others fail closed without its help. ADR 0009 says why it is shaped like this.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType

from decision.cli import certificates, documents, opa, runfile, sources
from decision.cli.children import Child, module_command
from decision.cli.config import Loaded, variables
from decision.cli.errors import CliError
from decision.cli.runfile import RunFile

ENFORCER_DRAIN_S = 40.0  # running statements get 30 s, and their outcomes must still be recorded
DECISION_DRAIN_S = 15.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 5.0
STEADY_S = 30.0  # a child that lived this long starts again with the shortest backoff


def log(level: str, event: str, **fields: object) -> None:
    """One JSON line on standard error."""
    line = {"timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
    print(json.dumps({**line, "level": level, "component": "supervisor", "event": event, **fields}), file=sys.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A decision service that runs elsewhere, for a supervisor of gateways alone."""

    grpc: str
    ca: str = ""  # PEM; "" where the configuration says whom gateways believe
    mutual: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one supervisor runs. `secret`: agreed with the other half when the halves are started apart."""

    decision: bool = True
    postgres: bool = True
    secret: str = field(default="", repr=False)
    served: Served | None = None  # needed where `decision` is False


@dataclass(slots=True)
class Addresses:
    """Where each listener is: first as configured (port 0: any), then as it turned out, so that a restart keeps it."""

    grpc: str
    http: str
    postgres: dict[str, str] = field(default_factory=dict)
    mutual: str = ""  # where enforcers call that are known by certificates
    metrics: list[str] = field(default_factory=list)  # of the gateways; chosen anew at each start
    web: str = ""  # where the pages listen
    pages: str = ""  # and their origin, which the ready line tells


ALL = Parts()


class Supervisor:
    """One run, from start to the last child's end."""

    def __init__(self, loaded: Loaded, *, dev: bool, environ: Mapping[str, str], parts: Parts = ALL) -> None:
        self._loaded = loaded
        self._parts = parts
        self._dev = dev
        self._instance = f"run-{secrets.token_hex(4)}"
        config = loaded.config
        listen = config.enforcers.postgres.listen
        self._addresses = Addresses(
            parts.served.grpc if parts.served is not None else config.decision.grpc,
            config.decision.http,
            {connection.name: listen for connection in config.postgres},
            parts.served.mutual
            if parts.served is not None
            else config.decision.mutual.listen
            if config.decision.mutual is not None
            else "",
        )
        shown = config.decision.tls
        self._name = certificates.host_of(loaded.absolute(shown.certificate)) if shown is not None else ""
        tls = certificates.make(self._instance)
        if parts.served is not None and parts.served.ca:
            tls = certificates.RunTls(ca=parts.served.ca, cert="", key="")
        remote = config.policy.opa
        self._run = documents.Run(
            instance=self._instance,
            dev=dev,
            enforcer_secret=parts.secret or secrets.token_urlsafe(32),
            tls=tls,
            opa=str(opa.find(environ)) if parts.decision and remote is None else "",
            opa_token=_opa_token(loaded, environ) if parts.decision else None,
            ssh_key=_ssh_key(loaded, environ) if parts.decision else None,
            exchange_key=_exchange_key(loaded, environ) if parts.decision else None,
            store_password=_store_password(loaded, environ) if parts.decision else None,
            web_secret=_web_secret(loaded, environ) if parts.decision else None,
        )
        directory = str(loaded.root)
        self._decision = Child(
            "the decision service",
            module_command("decision"),
            documents.environment(documents.SERVICE, environ),
            directory,
        )
        self._enforcer = Child(
            "the PostgreSQL enforcer",
            module_command("enforcers", "postgres"),
            documents.environment(documents.PLAIN, environ),
            directory,
        )
        # Kept, because a gateway that is started again needs them, and nobody can read them a second time.
        names = variables(config) if parts.postgres else set()
        self._variables = {name: value for name in names if (value := environ.get(name))}
        self._gateway = parts.postgres and bool(config.postgres)
        self._stopping = asyncio.Event()
        self._signals = 0
        self._announced = False

    async def run(self, announce: Callable[[Mapping[str, object]], None]) -> None:
        """Until SIGTERM or SIGINT. Raises CliError: it could not start; then nothing is left running."""
        self._catch_signals()
        runfile.make_state_dir(self._loaded.state_dir)
        held = runfile.lock(self._loaded.state_dir, "up" if self._parts.decision else "gateways")
        try:
            started = await self._unless_stopped(self._start_all())
            if started:
                self._write_run_file()
                self._announced = True
                announce(self._ready_line())
                await self._watch()
        finally:
            await self._stop_all()
            if self._parts.decision:
                with suppress(FileNotFoundError):
                    self._loaded.run_file.unlink()
            os.close(held)

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Do `work`, but give it up when a signal comes first. True when it was done."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
                return True
            return False
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    # -- starting ---------------------------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        if self._parts.decision:
            await self._start_decision()
        if self._gateway:
            await self._start_enforcer()

    async def _start_decision(self) -> None:
        at = self._addresses
        document = documents.decision(self._loaded, self._run, grpc=at.grpc, http=at.http, mutual=at.mutual, web=at.web)
        ready = await self._decision.start(document)
        if self._loaded.config.web is not None:
            at.pages = _text(ready, "web", self._decision)
            at.web = at.web or _listening(self._loaded.config.web.listen, at.pages)
        at.mutual = _text(ready, "mutual", self._decision) if at.mutual else ""
        at.grpc, at.http = _text(ready, "grpc", self._decision), _text(ready, "http", self._decision)
        log("info", "decision service ready", grpc=at.grpc, http=at.http, pid=self._decision.pid)

    async def _start_enforcer(self) -> None:
        at = self._addresses
        document = documents.enforcer(
            self._loaded,
            self._run,
            grpc=at.mutual or at.grpc,
            listen=at.postgres,
            instance=f"enf-{secrets.token_hex(4)}",
            name=self._name,
            variables=self._variables,
        )
        ready = await self._enforcer.start(document)
        connections = ready.get("connections")
        if not isinstance(connections, dict) or set(connections) != set(at.postgres):
            raise CliError("the PostgreSQL enforcer's ready line does not name every connection")
        at.postgres = {name: str(address) for name, address in connections.items()}
        metrics = ready.get("metrics")
        at.metrics = [str(address) for address in metrics] if isinstance(metrics, list) else []
        if self._announced:
            self._write_run_file()
        log("info", "enforcer ready", postgres=at.postgres, pid=self._enforcer.pid)

    def _ready_line(self) -> dict[str, object]:
        at = self._addresses
        line: dict[str, object] = {"ready": True, "decision": at.grpc}
        if self._parts.decision:
            line["http"] = f"{'http' if self._loaded.config.decision.tls is None else 'https'}://{at.http}"
            if at.mutual:
                line["mutual"] = at.mutual
            if at.pages:
                line["web"] = at.pages
        if self._parts.postgres:
            line["postgres"] = at.postgres
        return line

    def _write_run_file(self) -> None:
        """Gateways that run apart leave the decision service's file alone."""
        if not self._parts.decision:
            return
        at, shown = self._addresses, self._loaded.config.decision.tls
        run = RunFile(
            pid=os.getpid(),
            dev=self._dev,
            decision=at.grpc,
            http=at.http,
            postgres=at.postgres if self._parts.postgres else {},
            ca=self._run.tls.ca,
            ca_file=str(self._loaded.absolute(shown.ca or shown.certificate)) if shown is not None else "",
            name=self._name,
            mutual=at.mutual,
            metrics=at.metrics,
        )
        runfile.write(self._loaded.run_file, run)

    # -- running ----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Keep both children running until a signal. A child's death is never a reason to end the others."""
        try:
            async with asyncio.TaskGroup() as group:
                if self._parts.decision:
                    group.create_task(self._keep(self._decision, self._start_decision))
                if self._gateway:
                    group.create_task(self._keep(self._enforcer, self._start_enforcer))
                group.create_task(self._raise_when_stopping())
        except* _StoppingError:
            pass

    async def _raise_when_stopping(self) -> None:
        await self._stopping.wait()
        raise _StoppingError

    async def _keep(self, child: Child, start: Callable[[], Awaitable[None]]) -> None:
        backoff = BACKOFF_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            status = await child.wait()
            if loop.time() - since >= STEADY_S:
                backoff = BACKOFF_FIRST_S
            log("error", f"{child.name} ended", status=status, restart_in_s=backoff)
            child.kill()  # what it left behind, such as its OPA
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, BACKOFF_MOST_S)
            try:
                await start()
            except CliError as error:
                log("error", f"{child.name} did not come back", why=str(error))

    # -- signals and stopping ---------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload_signal)

    def _on_stop_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            log("info", "draining", hint="a second signal stops at once")
            self._stopping.set()
            return
        log("warning", "stopping at once")
        self._enforcer.kill()
        self._decision.kill()

    def _on_reload_signal(self) -> None:
        """Policy, people and classification are the decision service's to read again, certificates everybody's."""
        log("info", "reload forwarded")
        self._decision.signal(signal.SIGHUP)
        self._enforcer.signal(signal.SIGHUP)

    async def _stop_all(self) -> None:
        """Enforcers first: their last outcomes need a decision service to record them."""
        for child, grace_s in ((self._enforcer, ENFORCER_DRAIN_S), (self._decision, DECISION_DRAIN_S)):
            if child.running:
                status = await child.stop(grace_s=grace_s)
                log("info", f"{child.name} stopped", status=status)


class _StoppingError(Exception):
    """Ends the task group; never seen outside."""


def _opa_token(loaded: Loaded, environ: Mapping[str, str]) -> str | None:
    remote = loaded.config.policy.opa
    return None if remote is None or remote.token is None else sources.fetch(loaded, remote.token, environ)


def _ssh_key(loaded: Loaded, environ: Mapping[str, str]) -> str | None:
    ssh = loaded.config.decision.ssh
    return None if ssh is None else sources.fetch(loaded, ssh.key, environ, key=True)


def _exchange_key(loaded: Loaded, environ: Mapping[str, str]) -> str | None:
    exchange = loaded.config.decision.exchange
    return None if exchange is None else sources.fetch(loaded, exchange.key, environ)


def _web_secret(loaded: Loaded, environ: Mapping[str, str]) -> str | None:
    web = loaded.config.web
    return None if web is None or web.login.secret is None else sources.fetch(loaded, web.login.secret, environ)


def _listening(configured: str, origin: str) -> str:
    """Where the pages are again after a restart: port 0 was chosen once, and is in the origin then."""
    host, _, port = configured.rpartition(":")
    return configured if port != "0" else f"{host}:{origin.rpartition(':')[2]}"


def _store_password(loaded: Loaded, environ: Mapping[str, str]) -> str | None:
    password = loaded.config.store.password
    return None if password is None else sources.fetch(loaded, password, environ)


def _text(ready: Mapping[str, object], key: str, child: Child) -> str:
    value = ready.get(key)
    if not isinstance(value, str) or not value:
        raise CliError(f"{child.name}'s ready line lacks {key!r}")
    return value


def up(loaded: Loaded, *, dev: bool, environ: Mapping[str, str], parts: Parts = ALL) -> None:
    """Run until told to stop. Raises CliError when it can't start."""

    def announce(line: Mapping[str, object]) -> None:
        print(json.dumps(line), flush=True)

    def too_early(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, too_early)  # before the loop runs, nothing has been started

    async def main() -> None:
        await Supervisor(loaded, dev=dev, environ=environ, parts=parts).run(announce)

    asyncio.run(main())
