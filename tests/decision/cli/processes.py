"""What others see of a process that hides itself (Linux)."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def seen_from_root(command: Sequence[str]) -> dict[str, object]:
    """Start it, look once it is not dumpable any more, end it. Keys: core (soft, hard), owner of its /proc folder.

    Run as root, /proc tells the owner of what is dumpable and what isn't alike; then its environ tells nothing either.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            folder = Path(f"/proc/{process.pid}")
            deadline = time.monotonic() + 20
            while True:
                limits = (folder / "limits").read_text()
                core = re.search(r"Max core file size\s+(\S+)\s+(\S+)", limits)
                assert core is not None
                if core.groups() == ("0", "0"):
                    break
                assert time.monotonic() < deadline, "it never hardened itself"
                assert process.poll() is None, "it ended first"
                time.sleep(0.02)  # nothing tells us
            return {"core": core.groups(), "owner": os.stat(folder / "environ").st_uid}
        finally:
            process.kill()
