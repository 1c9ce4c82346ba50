"""Which process is which, and what it holds: for tests that kill and measure the parts of a running stack (Linux)."""

from __future__ import annotations

import os
import resource
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


def server_of(stack: Stack, port: int) -> int:
    """The gateway process that has the other end of the connection from this local port."""
    inode = _inode_of_peer(port, stack.address()[1])
    for pid in gateways(stack):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(entry) == f"socket:[{inode}]":
                    return pid
            except FileNotFoundError:
                continue
    raise AssertionError("no gateway has the other end")


def _inode_of_peer(port: int, server: int) -> str:
    """Of the socket with the server's port here and this port there."""
    for fields in _connections():
        local, remote = (int(fields[place].rpartition(":")[2], 16) for place in (1, 2))
        if (local, remote) == (server, port) and fields[9] != "0":
            return fields[9]
    raise AssertionError("nobody has the other end")


def _connections() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def listening(port: int) -> int:
    """How many sockets listen there: one for each worker that is ready."""
    return sum(fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port for fields in _connections())


def resident(pid: int) -> int:
    """Bytes in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
