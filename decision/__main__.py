"""`python -m decision --settings-fd N --ready-fd M`: the decision service as a process.

SIGTERM drains, a second one stops at once, SIGHUP reloads. No core file and no ptrace by others: memory holds keys.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
import uvloop

from decision import logs
from decision.app import Service
from decision.errors import DecisionError
from decision.settings import Settings, SettingsError, read_descriptor

_PR_SET_DUMPABLE: Final = 4
EXIT_SETTINGS: Final = 78  # sysexits(3): EX_CONFIG
EXIT_FAILED: Final = 1
_log = structlog.get_logger("decision")


def harden() -> None:
    """No core dumps, and no reading of this memory by the same user's other processes (prctl(2))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


async def serve(settings: Settings, document: Mapping[str, object], ready: int) -> int:
    """Start, say so on `ready`, run until told to stop. The exit status."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reload = asyncio.Event()

    def terminate() -> None:
        if stop.is_set():
            os._exit(EXIT_FAILED)  # the second one: at once, whatever runs
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    service = Service(settings, document)
    try:
        await service.start()
    except (DecisionError, OSError) as error:
        code = error.code if isinstance(error, DecisionError) else "OS"
        fix = error.next_step if isinstance(error, DecisionError) else ""
        _log.error("the service can't start", code=code, reason=str(error), fix=fix)
        return EXIT_FAILED
    # What is loaded is never garbage, and Python's 700 new objects are what one batch of acts makes.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _say_ready(ready, service.ready_line)
    status = 0
    try:
        async with asyncio.TaskGroup() as group:
            reloading = group.create_task(_reload(service, reload))
            try:
                await service.run(stop)
            finally:
                reloading.cancel()
    except* Exception as failed:  # noqa: BLE001 - a background part failed: log it, drain, end with an error
        names = [type(error).__name__ for error in failed.exceptions]
        _log.error("a background part failed; the service ends", errors=names, exc_info=failed)
        status = EXIT_FAILED
    await service.stop()
    return status


async def _reload(service: Service, wanted: asyncio.Event) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        await service.reload()


def _say_ready(descriptor: int, line: Mapping[str, object]) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m decision", description="The twokey decision service.")
    parser.add_argument("--settings-fd", type=int, required=True, help="descriptor to read the settings document from")
    parser.add_argument("--ready-fd", type=int, required=True, help="descriptor to write the ready line to")
    options = parser.parse_args(arguments)
    logs.configure(service="decision", instance="")
    try:
        harden()
        os.set_inheritable(options.ready_fd, False)  # noqa: FBT003 - os names no keyword
        settings, document = read_descriptor(options.settings_fd)
    except (SettingsError, OSError) as error:
        _log.error("the settings can't be used", reason=str(error))
        return EXIT_SETTINGS
    logs.configure(service="decision", instance=settings.run.instance)
    return uvloop.run(serve(settings, document, options.ready_fd))


if __name__ == "__main__":
    sys.exit(main())
