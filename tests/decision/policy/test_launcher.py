"""OPA does not outlive the service."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from pathlib import Path

from tests.decision.policy.support import ROOT, make_sources


async def test_opa_dies_with_its_parent(tmp_path: Path) -> None:
    make_sources(tmp_path)
    program = """
import asyncio, pathlib, sys
from tests.decision.policy.support import local, start

async def main():
    engine = await start(pathlib.Path(sys.argv[1]))
    print(local(engine).pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        lines = [await parent.stdout.readline()]
        while not lines[-1].strip().isdigit():
            lines.append(await parent.stdout.readline())
            assert lines[-1], lines
    watched = os.pidfd_open(int(lines[-1]))
    try:
        parent.kill()
        await parent.wait()
        ended, _, _ = await asyncio.to_thread(select.select, [watched], [], [], 10)
        assert ended == [watched]
    finally:
        os.close(watched)


def test_it_does_not_start_what_nobody_waits_for(tmp_path: Path) -> None:
    """The parent named is not the parent: it died in between."""
    launcher = ROOT / "decision" / "policy" / "launcher.py"
    mark = tmp_path / "mark"
    arguments = [sys.executable, "-I", "-S", str(launcher), "1", "/usr/bin/touch", str(mark)]
    assert subprocess.run(arguments, check=False, timeout=20).returncode == 1
    assert not mark.exists()
    arguments[4] = str(os.getpid())
    assert subprocess.run(arguments, check=False, timeout=20).returncode == 0
    assert mark.exists()
