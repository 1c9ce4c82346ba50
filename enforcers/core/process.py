"""What the process does to itself before it holds a secret: no core dump, no reading of its memory by its peers."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys

from enforcers.core.errors import SettingsError

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4  # prctl(2)
_MANY_FILES = 1 << 20


def harden() -> None:
    """RLIMIT_CORE 0 and not dumpable: /proc/PID/{mem,environ,…} belong to root, and peers can't trace it (Linux)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def allow_descriptors() -> int:
    """As many open files as this user may have: two for each session. The number."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if most == resource.RLIM_INFINITY else min(most, _MANY_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _MANY_FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted


def calm_collector() -> None:
    """Once everything is loaded: modules, catalogs and classes are never garbage, and acts free themselves.

    What is here now is not looked at again, and a collection comes after many more new objects than Python's 700:
    a handful of acts make as many, and none of them is in a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def end_with_parent(parent: int) -> None:
    """A worker is told to drain when its supervisor dies, however it dies. parent: the supervisor's process id."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if sys.platform == "linux" and os.getppid() != parent:
        raise SettingsError("the supervisor is gone")


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise SettingsError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
