"""A process that records for ever, each session within its window, and prints each answer: the test kills it."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

from decision.audit.disk import PosixDisk
from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from decision.pdp.windows import Windows


class HangingDisk(PosixDisk):
    """After so many writes it takes no further one, for ever; 0: it takes them all."""

    def __init__(self, writes: int) -> None:
        self._left = writes
        self._for_ever = threading.Event()

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self._left == 1:
            self._for_ever.wait()
        self._left -= 1
        return super().write(descriptor, data, offset)


async def main(directory: Path, records: int, writes: int) -> None:
    clock = SystemClock()
    log = await SegmentLog.open(directory, clock=clock, max_segment_bytes=4096, disk=HangingDisk(writes), deadline_s=60)
    windows = Windows(clock)
    async with asyncio.TaskGroup() as group:
        for session in ("a", "b", "c"):
            group.create_task(work(log, windows, session, (records, 50_000)))


async def work(log: SegmentLog, windows: Windows, session: str, window: tuple[int, int]) -> None:
    number = 0
    while True:
        body = {"session": session, "number": number, "pad": "x" * (number % 300)}
        promised = None
        if number % 7 and windows.room(session, window):
            promised = await log.promise("act", body)
        if promised is not None:
            windows.add(session, promised.written)
            say(promised.index, session, "windowed", number)
        else:
            sys.stdout.write(f"{session} waits\n")
            sys.stdout.flush()
            say(await log.append("act", body), session, "before", number)
        number += 1


def say(index: int, session: str, durability: str, number: int) -> None:
    sys.stdout.write(f"{index} {session} {durability} {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
