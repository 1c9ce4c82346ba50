"""Which process is which, and what it holds: for tests that kill and measure the parts of a running stack (Linux)."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from decision.cli.demo.stack import Stack


def processes(stack: Stack, needle: str) -> list[int]:
    """Processes below `twokey up` whose command line contains the text."""
    found, todo = [], [stack.pid]
    while todo:
        pid = todo.pop()
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if needle in line and pid != stack.pid:
            found.append(pid)
    return found


def gateways(stack: Stack) -> list[int]:
    """The processes that serve: the workers where there are several, else the one gateway."""
    return processes(stack, "--worker") or processes(stack, "-m enforcers")


def _connections() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def listening(port: int) -> int:
    """How many sockets listen there: one for each worker that is ready."""
    return sum(fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port for fields in _connections())


def resident(pid: int) -> int:
    """Bytes in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors(pid: int) -> int:
    return len(as_root("ls", f"/proc/{pid}/fd").split())


def limit_descriptors(pid: int, number: int) -> None:
    as_root("prlimit", f"--pid={pid}", f"--nofile={number}:")


def unprivileged() -> tuple[str, ...]:
    """What a command begins with so that root's is without every capability, as any other user's is."""
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


def can_be_root() -> bool:
    if os.geteuid() == 0:
        return True
    asked = ["sudo", "-n", "true"]
    return shutil.which("sudo") is not None and subprocess.run(asked, check=False, capture_output=True).returncode == 0


def as_root(*command: str, fine: Collection[int] = (0,)) -> str:
    """A gateway hides its own folder in /proc from everybody else, and file systems are root's to mount. fine: codes of
    exit that are no failure."""
    prefix = () if os.geteuid() == 0 else ("sudo", "-n")
    done = subprocess.run([*prefix, *command], check=False, capture_output=True, text=True)
    assert done.returncode in fine, f"{command}: {done.returncode}: {done.stderr}"
    return done.stdout


def open_files(pid: int) -> str:
    """As `ls -l` shows them. One closed meanwhile makes `ls` end with 1 (minor problems, GNU coreutils)."""
    shown = as_root("ls", "-l", f"/proc/{pid}/fd", fine=(0, 1))
    assert " -> " in shown, pid
    return shown
