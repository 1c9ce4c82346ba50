"""A gateway that crashes where the test says: `crashing.py PHASE WAY postgres --settings-fd …` (docs: ADR 30).

The real program with one function wrapped: it does its work, and then the process ends as WAY says, or goes on with an
exception that nobody foresaw, raised where a secret is among the local variables.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

WAYS = ("KILL", "ABRT", "SEGV", "exception")
# phase -> module, class ("" for a function), name
PHASES = {
    "start": ("enforcers.app", "", "read_settings"),
    "fetch": ("enforcers.core.sources", "", "read_credential"),
    "log-in": ("enforcers.postgres.scram", "Login", "respond"),
    "session": ("enforcers.postgres.session", "Session", "data_received"),
    "shutdown": ("enforcers.core.core", "EnforcerCore", "drain"),
}


class UnforeseenError(Exception):
    pass


def crash(way: str) -> None:
    if way == "exception":
        raise UnforeseenError("raised by the test")
    os.kill(os.getpid(), getattr(signal, f"SIG{way}"))


def wrapped(real: Callable[..., Any], way: str) -> Callable[..., Any]:
    def does_its_work_and_crashes(*given: Any, **named: Any) -> Any:
        result = real(*given, **named)  # a secret, or in what it was given
        crash(way)
        return result

    return does_its_work_and_crashes


def main() -> int:
    import importlib  # noqa: PLC0415 - the test imports this module for its names only

    phase, way = sys.argv[1:3]
    module_name, class_name, name = PHASES[phase]
    module = importlib.import_module(module_name)
    holder = getattr(module, class_name) if class_name else module
    setattr(holder, name, wrapped(getattr(holder, name), way))
    sys.argv = ["enforcers", *sys.argv[3:]]
    program: Any = importlib.import_module("enforcers.__main__")
    status: int = program.main()
    return status


if __name__ == "__main__":
    sys.exit(main())
