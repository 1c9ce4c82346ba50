"""`twokey login` as a person types it, against a certified provider and a whole service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from decision.cli import logins
from tests.decision.running import Running, running
from tests.oidc.rig import Rig
from tests.oidc.test_provider import PEOPLE, ROLES


class Person:
    """A terminal of alice's: a home of its own, and the service by --server."""

    def __init__(self, run: Running, rig: Rig, home: Path) -> None:
        self.rig = rig
        self.home = home
        (home / "ca.pem").write_text(run.tls_ca)
        self.server = ["--server", str(run.service.ready_line["grpc"]), "--ca", str(home / "ca.pem")]

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "TWOKEY_PURE") if name in os.environ}
        return {**kept, "HOME": str(self.home)}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "decision.cli.main", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=self.environ,
        )  # fmt: skip

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        process = await self.start(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, out.decode(), err.decode()

    async def log_in(self, *more: str, client: str = "cli") -> tuple[int, str, str]:
        """And at once the browser's part."""
        process = await self.start(
            "login", "--issuer", self.rig.issuer, "--client", client, "--no-browser", *more, *self.server
        )
        assert process.stderr is not None
        url = ""
        while not url:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            if not line:
                break
            found = re.search(r"http://\S+", line)
            url = found[0] if found else ""
        if url:
            await self.rig.browse(url)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, out.decode(), err.decode()

    @property
    def file(self) -> Path:
        return logins.folder(self.environ) / next(
            path.name for path in logins.folder(self.environ).iterdir() if path.suffix == ".json"
        )


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig().running() as started:
        yield started


@pytest.fixture
async def alice(rig: Rig, tmp_path: Path) -> AsyncIterator[Person]:
    issuer = {"issuer": rig.issuer, "audience": "twokey", "roles": {"claim": "groups", "map": ROLES}}
    async with running(tmp_path, issuers=[issuer], people=PEOPLE.format(iss=rig.issuer)) as run:
        home = tmp_path / "home"
        home.mkdir()
        yield Person(run, rig, home)


@pytest.mark.parametrize("way", [(), ("--device",)], ids=["browser", "device"])
async def test_a_person_logs_in_and_the_other_commands_use_it(alice: Person, way: tuple[str, ...]) -> None:
    status, out, err = await alice.log_in(*way)
    assert status == 0, err
    assert "bound to a key of this machine's" in out
    assert stat.S_IMODE(alice.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(alice.file.parent.stat().st_mode) == 0o700
    kept = json.loads(alice.file.read_text())
    assert kept["access"] not in out + err
    assert kept["refresh"]
    listed = await alice.run("sessions", "list", *alice.server)
    assert listed[0] == 0, listed
    password = await alice.run("login", "--connection", "crm", "--role", "executor", *alice.server)
    assert password[1].startswith("tkp_"), password


async def test_it_is_renewed_when_it_ends_and_forgotten_by_logout(alice: Person) -> None:
    assert (await alice.log_in())[0] == 0
    kept = json.loads(alice.file.read_text())
    alice.file.write_text(json.dumps({**kept, "expires": 1}))
    listed = await alice.run("sessions", "list", *alice.server)
    assert listed[0] == 0, listed
    renewed = json.loads(alice.file.read_text())
    assert renewed["access"] != kept["access"]
    assert renewed["expires"] > 1
    assert renewed["key"] == kept["key"]
    out = await alice.run("logout", "--server", alice.server[1])
    assert out[1].startswith("logged out; the issuer revokes no access tokens"), out
    assert not list(logins.folder(alice.environ).glob("*.json"))
    listed = await alice.run("sessions", "list", *alice.server)
    assert listed[0] == 1
    assert "twokey login" in listed[2]
    async with httpx.AsyncClient() as http:
        form = {"grant_type": "refresh_token", "refresh_token": renewed["refresh"], "client_id": "cli"}
        assert (await http.post(f"{alice.rig.issuer}/token", data=form)).status_code == 400
    assert (await alice.run("logout", "--server", alice.server[1]))[1] == "you were not logged in\n"


async def test_a_log_in_is_used_for_no_other_service_and_not_where_others_may_read_it(alice: Person) -> None:
    assert (await alice.log_in())[0] == 0
    other = await alice.run("sessions", "list", "--server", "127.0.0.1:1", *alice.server[2:])
    assert other[0] == 1
    assert "no token" in other[2]
    alice.file.chmod(0o644)
    listed = await alice.run("sessions", "list", *alice.server)
    assert listed[0] == 1
    assert "others may read" in listed[2]


async def test_an_unwell_issuer_ends_in_one_line(alice: Person) -> None:
    for mode in ("down", "lie"):
        alice.rig.mode = mode
        asked = ("login", "--issuer", alice.rig.issuer, "--client", "cli", "--no-browser")
        status, out, err = await alice.run(*asked, *alice.server)
        assert status != 0
        assert err.startswith("twokey: ")
        assert "Traceback" not in err
        assert out == ""
