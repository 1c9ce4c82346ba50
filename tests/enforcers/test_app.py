"""`python -m enforcers postgres` as a real process, before a scripted decision service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from enforcers.app import load_protocol
from enforcers.core.errors import SettingsError
from tests.enforcers.core.service import SECRET, Authority, ScriptedService, start_service


def document(authority: Authority, port: int, **changes: object) -> dict[str, Any]:
    return {
        "run": {"instance": "enf-1", "dev": True, "enforcer_secret": SECRET, "tls": {"ca": authority.ca.decode()}},
        "decision": {"grpc": f"127.0.0.1:{port}"},
        "listen": {"crm": "127.0.0.1:0"},
        "workers": 1,
        "connections": [
            {
                "name": "crm",
                "environment": "production",
                "upstream": "postgresql://127.0.0.1:1/crm",
                "credentials": {"planner": {"user": "crm_ro", "password": {"env": "CRM_RO"}}},
            }
        ],
    } | changes


class Enforcer:
    """A started process, its ready line and what it logged."""

    def __init__(self, process: asyncio.subprocess.Process, ready: asyncio.StreamReader) -> None:
        self.process = process
        self.ready = ready

    async def said(self) -> dict[str, Any]:
        """Its ready line."""
        async with asyncio.timeout(30):
            line = await self.ready.readline()
        if not line:
            raise AssertionError((await self.finish())[1])
        found: dict[str, Any] = json.loads(line)
        return found

    async def address(self) -> tuple[str, int]:
        host, port = (await self.said())["connections"]["crm"].rsplit(":", 1)
        return host, int(port)

    async def finish(self) -> tuple[int, str]:
        async with asyncio.timeout(30):
            _, log = await self.process.communicate()
        return self.process.returncode or 0, log.decode()


async def start(settings: object) -> Enforcer:
    settings_fd = os.memfd_create("settings")
    os.write(settings_fd, json.dumps(settings).encode())
    os.lseek(settings_fd, 0, os.SEEK_SET)
    ready_read, ready_write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "enforcers",
        "postgres",
        "--settings-fd",
        str(settings_fd),
        "--ready-fd",
        str(ready_write),
        pass_fds=(settings_fd, ready_write),
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    os.close(settings_fd)
    os.close(ready_write)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ready_read, "rb", 0)
    )
    return Enforcer(process, reader)


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_serves_drains_and_exits_0(workers: int) -> None:
    authority, service = Authority(), ScriptedService()
    server, port = await start_service(service, authority)
    try:
        enforcer = await start(document(authority, port, workers=workers))
        host, listening = await enforcer.address()
        _, writer = await asyncio.open_connection(host, listening)
        writer.close()
        enforcer.process.send_signal(signal.SIGTERM)
        status, log = await enforcer.finish()
        assert status == 0, log
        assert SECRET not in log
    finally:
        await server.stop(None)


@pytest.mark.parametrize("workers", [1, 2])
async def test_each_worker_serves_its_metrics_on_loopback(workers: int) -> None:
    authority, service = Authority(), ScriptedService()
    server, port = await start_service(service, authority)
    try:
        enforcer = await start(document(authority, port, workers=workers))
        addresses = (await enforcer.said())["metrics"]
        assert len(set(addresses)) == workers
        async with httpx.AsyncClient(trust_env=False) as client:
            for address in addresses:
                assert address.startswith("127.0.0.1:")
                assert "twokey_sessions 0.0" in (await client.get(f"http://{address}/metrics")).text
        enforcer.process.send_signal(signal.SIGTERM)
        status, log = await enforcer.finish()
        assert status == 0, log
    finally:
        await server.stop(None)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_signal_ends_nothing(workers: int) -> None:
    authority, service = Authority(), ScriptedService()
    server, port = await start_service(service, authority)
    try:
        enforcer = await start(document(authority, port, workers=workers))
        host, listening = await enforcer.address()
        processes = [enforcer.process.pid, *children(enforcer.process.pid)]
        for process in processes:
            os.kill(process, signal.SIGHUP)
        log = b""
        assert enforcer.process.stderr is not None
        async with asyncio.timeout(10):
            while log.count(b'"reloading"') < len(processes):
                log += await enforcer.process.stderr.read(4096)
        _, writer = await asyncio.open_connection(host, listening)
        writer.close()
        enforcer.process.send_signal(signal.SIGTERM)
        status, rest = await enforcer.finish()
        assert status == 0, rest
    finally:
        await server.stop(None)


async def test_it_waits_for_the_decision_service_it_trusts() -> None:
    """No ready line while only a stranger answers on the port."""
    authority = Authority()
    impostor = ScriptedService()
    server, port = await start_service(impostor, Authority())
    try:
        enforcer = await start(document(authority, port))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await enforcer.ready.readline()
        assert not impostor.watching.is_set()
        enforcer.process.send_signal(signal.SIGTERM)
        assert (await enforcer.finish())[0] == 0
    finally:
        await server.stop(None)


async def test_wrong_settings_start_nothing() -> None:
    enforcer = await start({"run": {"enforcer_secret": SECRET}})
    status, log = await enforcer.finish()
    assert status == 2
    assert "not started" in log
    assert SECRET not in log


async def test_a_second_signal_stops_at_once() -> None:
    authority, service = Authority(), ScriptedService()
    server, port = await start_service(service, authority)
    try:
        enforcer = await start(document(authority, port, workers=2))
        await enforcer.address()
        enforcer.process.send_signal(signal.SIGTERM)
        enforcer.process.send_signal(signal.SIGTERM)
        assert (await enforcer.finish())[0] in (0, 1)
    finally:
        await server.stop(None)


def test_an_unknown_protocol() -> None:
    with pytest.raises(SettingsError, match="no such protocol"):
        load_protocol("gopher")
