"""Whether a file lies in memory: a target credential's must, unless the configuration says otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_IN_MEMORY = {"tmpfs", "ramfs"}


def lies_in_memory(path: Path) -> bool:
    """Of an existing file. False where that can't be told.

    Source: proc(5), /proc/PID/mountinfo: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`.
    """
    if sys.platform != "linux":
        return False
    try:
        device = path.stat().st_dev
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = [line.partition(" - ") for line in text.splitlines()]
    kinds = {after.split(" ", 1)[0] for before, _, after in lines if before.split(" ")[2:3] == [number]}
    return bool(kinds) and kinds <= _IN_MEMORY
