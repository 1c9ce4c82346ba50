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
    ca: str  # PEM


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
    metrics: list[str] = field(default_factory=list)  # of the gateways; chosen anew at each start


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
            {connection.name: listen for connection in config.connections},
        )
        tls = certificates.make(self._instance)
        if parts.served is not None:
            tls = certificates.RunTls(ca=parts.served.ca, cert="", key="")
        remote = config.policy.opa
        self._run = documents.Run(
            instance=self._instance,
            dev=dev,
            enforcer_secret=parts.secret or secrets.token_urlsafe(32),
            tls=tls,
            opa=str(opa.find(environ)) if parts.decision and remote is None else "",
            opa_token=sources.fetch(loaded, remote.token, environ) if remote is not None and remote.token else None,
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
            documents.environment({*documents.PLAIN, *variables(config)}, environ),
            directory,
        )
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
        if self._parts.postgres:
            await self._start_enforcer()

    async def _start_decision(self) -> None:
        at = self._addresses
        document = documents.decision(self._loaded, self._run, grpc=at.grpc, http=at.http)
        ready = await self._decision.start(document)
        at.grpc, at.http = _text(ready, "grpc", self._decision), _text(ready, "http", self._decision)
        log("info", "decision service ready", grpc=at.grpc, http=at.http, pid=self._decision.pid)

    async def _start_enforcer(self) -> None:
        at = self._addresses
        document = documents.enforcer(
            self._loaded, self._run, grpc=at.grpc, listen=at.postgres, instance=f"enf-{secrets.token_hex(4)}"
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
            line["http"] = f"http://{at.http}"
        if self._parts.postgres:
            line["postgres"] = at.postgres
        return line

    def _write_run_file(self) -> None:
        """Gateways that run apart leave the decision service's file alone."""
        if not self._parts.decision:
            return
        at = self._addresses
        run = RunFile(
            pid=os.getpid(),
            dev=self._dev,
            decision=at.grpc,
            http=at.http,
            postgres=at.postgres if self._parts.postgres else {},
            ca=self._run.tls.ca,
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
                if self._parts.postgres:
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
        """Policy, people and classification are the decision service's to read again, certificates the gateways'."""
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
