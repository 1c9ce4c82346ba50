"""What a process of the command line does to itself before it reads a secret (each half of twokey has its own)."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from decision.cli.errors import CliError

_PR_SET_DUMPABLE = 4  # prctl(2)


def harden() -> None:
    """No core file, and not dumpable: /proc/PID/{mem,environ,fd} are root's, and no peer may trace it (Linux).

    The limit alone would not do: a core_pattern that is a pipe gets a dump whatever the limit (core(5)), but none of
    what isn't dumpable. Raises CliError.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except (OSError, ValueError) as error:
        raise CliError(f"core dumps can't be turned off: {error}", next_step="run it where setrlimit works") from None
