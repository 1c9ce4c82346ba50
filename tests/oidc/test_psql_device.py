"""PostgreSQL 18's own psql with libpq-oauth logs in by device code, at a certified provider, through the gateway."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from tests.oidc.rig import Rig
from tools import psql_oauth

IDENTITY = """\
identity:
  issuers: [{{issuer: "{iss}", audience: twokey, roles: {{claim: groups, map: {{agents-exec: executor}}}}}}]
people:"""
PEOPLE = """\
principals:
  - {{name: alice, identities: [{{iss: "{iss}", sub: alice}}], groups: [dba]}}
  - {{name: erin, groups: [auditors]}}
"""


async def psql(
    command: list[str],
    stack: Stack,
    rig: Rig,
    folder: Path,
    *,
    role: str = "executor",
    issuer: str = "",
    agrees: bool = True,
) -> tuple[int, str, str]:
    """As alice types it, with her browser beside."""
    host, port = stack.address(DATABASE)
    options = f"host={host} port={port} user={role} dbname={DATABASE} sslmode=disable options='-c twokey.login=oauth'"
    oauth = f"oauth_issuer={issuer or rig.issuer} oauth_client_id=psql oauth_scope=openid"
    process = await asyncio.create_subprocess_exec(
        *command, "-XAtq", f"{options} {oauth}", "-c", "SELECT 41 + 1, current_user",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "PGOAUTHDEBUG": "UNSAFE"},  # http, on loopback
    )  # fmt: skip
    assert process.stderr is not None
    err = ""
    async with asyncio.timeout(60):
        async for raw in process.stderr:
            err += raw.decode(errors="replace")
            found = re.search(r"Visit (\S+) and enter the code: (\S+)", err)
            if found and agrees:
                agrees = False
                await rig.browse(f"{found[1]}?user_code={found[2]}")
        assert process.stdout is not None
        out = (await process.stdout.read()).decode()
        return await process.wait(), out, err


async def test_psql_logs_in_by_its_own_device_flow(tmp_path: Path) -> None:
    command = await asyncio.to_thread(psql_oauth.obtain)
    async with Rig().running() as rig:
        config = CONFIG.replace("people:", IDENTITY.replace("{iss}", rig.issuer), 1)
        stack = Stack(config=config, people=PEOPLE.format(iss=rig.issuer))
        await asyncio.to_thread(stack.start)
        try:
            status, out, err = await psql(command, stack, rig, tmp_path)
            assert (status, out) == (0, "42|company_rw\n"), err
            records = await asyncio.to_thread(stack.records)
            opened = [one for one in records if one["kind"] == "session-opened"]
            assert [one["subject"]["name"] for one in opened] == ["alice"]  # type: ignore[index] # JSON

            # A role that alice's token has not: psql is told so after the same log-in, and no session opens.
            status, out, err = await psql(command, stack, rig, tmp_path, role="planner")
            assert (status, out) == (2, "")
            assert "must be a role that the token carries" in err, err[-3000:]

            # A provider that the gateway does not name is not asked for a token.
            status, out, err = await psql(command, stack, rig, tmp_path, issuer="http://127.0.0.1:1")
            assert status == 2
            assert "Visit" not in err
        finally:
            await asyncio.to_thread(stack.stop)
