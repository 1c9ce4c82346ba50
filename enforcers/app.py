"""One enforcer process from its settings document to its exit: hardens itself, binds, serves, drains.

With workers > 1 this process only supervises, and each worker comes back here with `--worker N`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import structlog
import uvloop

from enforcers.core.core import EnforcerCore, running_core
from enforcers.core.errors import EnforcerError, SettingsError
from enforcers.core.listeners import Listeners, bind
from enforcers.core.ports import Serve
from enforcers.core.process import end_with_parent, harden
from enforcers.core.workers import Command, Supervisor
from enforcers.settings import MAX_DOCUMENT, Address, Settings, read_settings

# Loaded only when served: an ssh gateway needs no SQL parser in memory.
PROTOCOLS: Mapping[str, str] = {"postgres": "enforcers.postgres.shell"}
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


def run(arguments: Arguments) -> int:
    """Exit status: 0 after a drain, 1 when something failed, 2 when it could not start."""
    configure_logging()
    try:
        harden()
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
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_worker(arguments, settings, listeners, serve))
    except* EnforcerError as errors:
        log.error("stopped", error=str(errors.exceptions[0]))  # noqa: TRY400 - as above
        return 1
    finally:
        listeners.close()
    return 0


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
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(_announce(core, listening, arguments.ready_fd, listeners))
            guard = group.create_task(_bound_drain(core))
            try:
                await serve(core, settings, listeners.sockets, ready=listening.set, attach=core.attach)
            finally:
                announcing.cancel()
                guard.cancel()


async def _announce(core: EnforcerCore, listening: asyncio.Event, ready_fd: int, listeners: Listeners) -> None:
    """One ready line, once clients are accepted and the decision service was heard."""
    await listening.wait()
    while not await core.ready(HEARD_SECONDS):
        log.warning("waiting for the decision service")
    _write_ready(ready_fd, listeners.addresses)


def _write_ready(ready_fd: int, addresses: Mapping[str, Address]) -> None:
    line = orjson.dumps({"ready": True, "connections": {name: str(address) for name, address in addresses.items()}})
    with os.fdopen(ready_fd, "wb") as file:
        file.write(line + b"\n")


async def _bound_drain(core: EnforcerCore) -> None:
    await core.drained()
    await asyncio.sleep(DRAIN_SECONDS)
    raise EnforcerError("draining took too long")


def drain_on_signals(core: EnforcerCore) -> None:
    """SIGTERM and SIGINT drain; the second stops at once."""

    def told() -> None:
        if core.draining:
            os._exit(1)
        log.info("draining")
        core.drain()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told)
    loop.add_signal_handler(signal.SIGINT, told)


def _supervise(arguments: Arguments, settings: Settings, document: bytes) -> int:
    load_protocol(arguments.protocol)
    listeners = bind(settings.listen, shared=True)
    changed = orjson.loads(document)
    changed["listen"] = {name: str(address) for name, address in listeners.addresses.items()}
    argv = (sys.executable, "-m", "enforcers", arguments.protocol, "--supervisor", str(os.getpid()))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _supervised(
                    Command(argv, orjson.dumps(changed)), settings.workers, arguments.ready_fd, listeners.addresses
                )
            )
    except* EnforcerError as errors:
        log.error("stopped", error=str(errors.exceptions[0]))  # noqa: TRY400 - as above
        return 1
    finally:
        listeners.close()
    return 0


async def _supervised(command: Command, count: int, ready_fd: int, addresses: Mapping[str, Address]) -> None:
    await Supervisor(command, count).run(lambda: _write_ready(ready_fd, addresses))


def configure_logging() -> None:
    """JSON lines on standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
