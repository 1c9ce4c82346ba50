"""One enforcer process from its settings document to its exit: hardens itself, binds, serves, drains.

With workers > 1 this process only supervises, and each worker comes back here with `--worker N`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass

import orjson
import structlog
import uvloop
from structlog.tracebacks import ExceptionDictTransformer

from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.errors import EnforcerError, SettingsError
from enforcers.core.listeners import Listeners, bind
from enforcers.core.metrics import METRICS
from enforcers.core.metrics_http import serve_metrics
from enforcers.core.ports import Serve
from enforcers.core.process import allow_descriptors, calm_collector, end_with_parent, harden
from enforcers.core.siblings import Siblings
from enforcers.core.workers import Command, Supervisor
from enforcers.settings import MAX_DOCUMENT, Address, Settings, read_settings

# Loaded only when served: an ssh gateway needs no SQL parser in memory.
PROTOCOLS: Mapping[str, str] = {"postgres": "enforcers.postgres.gateway"}
DRAIN_SECONDS = 40.0  # serve() allows running statements 30 s
HEARD_SECONDS = 10.0

log = structlog.get_logger("twokey.enforcers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    protocol: str
    settings_fd: int
    ready_fd: int
    worker: int | None = None
    supervisor: int = 0  # process id
    metrics_port: int = 0  # what a worker's predecessor had; 0: any
    siblings: Sequence[int] = ()  # of a worker: descriptors of its inbox, then of every worker's outbox


def run(arguments: Arguments) -> int:
    """Exit status: 0 after a drain, 1 when something failed, 2 when it could not start."""
    configure_logging()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop handles it: a reload must never end a gateway
    try:
        harden()
        allow_descriptors()
        document = _read_document(arguments.settings_fd)
        settings = read_settings(document)
        if arguments.worker is None and settings.workers > 1:
            return _supervise(arguments, settings, document)
        if arguments.worker is not None:
            end_with_parent(arguments.supervisor)
        return _serve(arguments, settings)
    except SettingsError as error:
        log.error("not started", error=str(error))  # noqa: TRY400 - a sentence for a person, not a traceback
        return 2


def _read_document(descriptor: int) -> bytes:
    try:
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise SettingsError(f"the settings descriptor can't be read ({error.strerror})") from None


def _serve(arguments: Arguments, settings: Settings) -> int:
    serve = load_protocol(arguments.protocol)
    listeners = bind(settings.listen, shared=arguments.worker is not None)
    return _run_loop(_worker(arguments, settings, listeners, serve), listeners)


def _run_loop(main: Coroutine[None, None, None], listeners: Listeners) -> int:
    status = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    except* EnforcerError as errors:
        log.error("stopped", errors=_sentences(errors))  # noqa: TRY400 - sentences for people, not a traceback
        status = 1
    finally:
        listeners.close()
    return status


def _sentences(errors: BaseExceptionGroup[BaseException]) -> list[str]:
    found: list[str] = []
    for error in errors.exceptions:
        found += _sentences(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return found


def load_protocol(name: str) -> Serve:
    """Raises SettingsError for a protocol that no package serves."""
    module = PROTOCOLS.get(name)
    if module is None:
        raise SettingsError(f"no such protocol: {name}")
    serve: Serve = importlib.import_module(module).serve
    return serve


async def _worker(arguments: Arguments, settings: Settings, listeners: Listeners, serve: Serve) -> None:
    async with running_core(settings, protocol=arguments.protocol, worker=arguments.worker or 0) as core:
        drain_on_signals(core)
        listening = asyncio.Event()
        async with (
            serve_metrics(METRICS.registry, port=arguments.metrics_port) as metrics,
            asyncio.TaskGroup() as group,
        ):
            announcing = group.create_task(_announce(core, listening, arguments.ready_fd, listeners, metrics))
            guard = group.create_task(_bound_drain(core))
            try:
                await serve(
                    core,
                    settings,
                    listeners.sockets,
                    ready=listening.set,
                    attach=core.attach,
                    siblings=_siblings(arguments),
                )
            finally:
                announcing.cancel()
                guard.cancel()


def _siblings(arguments: Arguments) -> Siblings | None:
    if arguments.worker is None or not arguments.siblings:
        return None
    inbox, *outboxes = (socket.socket(fileno=descriptor) for descriptor in arguments.siblings)
    return Siblings(arguments.worker, inbox, outboxes)


async def _announce(
    core: EnforcerCore, listening: asyncio.Event, ready_fd: int, listeners: Listeners, metrics: str
) -> None:
    """One ready line, once clients are accepted and the decision service was heard."""
    await listening.wait()
    while not await core.ready(HEARD_SECONDS):
        log.warning("waiting for the decision service")
    calm_collector()
    _write_ready(ready_fd, listeners.addresses, [metrics])


def _write_ready(ready_fd: int, addresses: Mapping[str, Address], metrics: Sequence[str]) -> None:
    connections = {name: str(address) for name, address in addresses.items()}
    line = orjson.dumps({"ready": True, "connections": connections, "metrics": metrics})
    with os.fdopen(ready_fd, "wb") as file:
        file.write(line + b"\n")


async def _bound_drain(core: EnforcerCore) -> None:
    await core.drained()
    await asyncio.sleep(DRAIN_SECONDS)
    raise EnforcerError("draining took too long")


def drain_on_signals(core: EnforcerCore) -> None:
    """SIGTERM and SIGINT drain; the second stops at once. SIGHUP reads the listeners' certificates again; what policy,
    people and classification say is the decision service's."""

    def told() -> None:
        if core.draining:
            os._exit(1)
        log.info("draining")
        core.drain()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told)
    loop.add_signal_handler(signal.SIGINT, told)
    loop.add_signal_handler(signal.SIGHUP, core.reload)


def _supervise(arguments: Arguments, settings: Settings, document: bytes) -> int:
    load_protocol(arguments.protocol)
    listeners = bind(settings.listen, shared=True)
    changed = orjson.loads(document)
    changed["listen"] = {name: str(address) for name, address in listeners.addresses.items()}
    argv = (sys.executable, "-I", "-m", "enforcers", arguments.protocol, "--supervisor", str(os.getpid()))
    command = Command(argv, orjson.dumps(changed))
    return _run_loop(_supervised(command, settings.workers, arguments.ready_fd, listeners.addresses), listeners)


async def _supervised(command: Command, count: int, ready_fd: int, addresses: Mapping[str, Address]) -> None:
    supervisor = Supervisor(command, count)
    await supervisor.run(lambda: _write_ready(ready_fd, addresses, supervisor.metrics))


def configure_logging() -> None:
    """JSON lines on standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Never with locals: a frame may hold a token or a password.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
