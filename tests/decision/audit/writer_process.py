"""A process that appends for ever and prints each acknowledged index: the test kills it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from decision.audit.log import SegmentLog
from decision.clock import SystemClock


async def main(directory: Path) -> None:
    log = await SegmentLog.open(directory, clock=SystemClock(), max_segment_bytes=4096)
    try:
        async with asyncio.TaskGroup() as group:
            for worker in range(4):
                group.create_task(work(log, worker))
    finally:
        await log.close()


async def work(log: SegmentLog, worker: int) -> None:
    number = 0
    while True:
        index = await log.append("act", {"worker": worker, "number": number, "pad": "x" * (number % 700)})
        sys.stdout.write(f"{index} {worker} {number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
