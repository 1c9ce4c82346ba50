"""python -m decision as a process: settings in, ready line out, signals, nothing secret to be seen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from decision.audit.log import SegmentLog
from decision.clock import SystemClock
from tests.decision.running import ROOT, document_of

SECRET = "canary-enforcer-secret-0123456789-abcdefghi"


async def start(document: dict[str, Any]) -> tuple[asyncio.subprocess.Process, int]:
    settings_read, settings_write = os.pipe()
    ready_read, ready_write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "decision",
        "--settings-fd",
        str(settings_read),
        "--ready-fd",
        str(ready_write),
        pass_fds=(settings_read, ready_write),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(settings_read)
    os.close(ready_write)
    await asyncio.to_thread(_write, settings_write, json.dumps(document).encode())
    return process, ready_read


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.readline()


async def test_a_whole_life(tmp_path: Path) -> None:
    process, ready = await start(document_of(tmp_path, SECRET))
    line = json.loads(await asyncio.wait_for(asyncio.to_thread(_read, ready), 40))
    assert line["ready"] is True
    assert set(line) == {"ready", "grpc", "http"}
    for name in ("cmdline", "environ"):
        assert SECRET.encode() not in (Path("/proc") / str(process.pid) / name).read_bytes()
    limits = (Path("/proc") / str(process.pid) / "limits").read_text()
    core = next(row for row in limits.splitlines() if row.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0
    assert SECRET.encode() not in errors
    assert b"PRIVATE KEY" not in errors
    log = await SegmentLog.open(tmp_path / "audit", clock=SystemClock())
    kinds = [orjson.loads(payload)["kind"] async for _, payload in log.read(0, None)]
    await log.close()
    assert kinds[0] == "started"
    assert kinds[-1] == "stopped"


@pytest.mark.parametrize("change", ["settings", "log", "opa"])
async def test_what_cannot_start_says_why_and_ends(tmp_path: Path, change: str) -> None:
    document = document_of(tmp_path, SECRET)
    if change == "settings":
        del document["store"]
    elif change == "log":
        (tmp_path / "file").write_text("")
        document["audit"]["dir"] = str(tmp_path / "file" / "audit")
    else:
        document["opa"]["path"] = str(tmp_path / "no-opa")
    process, ready = await start(document)
    _, errors = await asyncio.wait_for(process.communicate(), 40)
    assert await asyncio.to_thread(_read, ready) == b""
    assert process.returncode == (78 if change == "settings" else 1)
    last = json.loads(errors.splitlines()[-1])
    assert last["level"] == "error"
    assert last["reason"]
    assert SECRET.encode() not in errors
