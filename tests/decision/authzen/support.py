"""A service with foreign resource types and an application that may ask about them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from decision.policy.bundle import shipped_rego
from tests.decision.running import Running, running

ONE, MANY = "/access/v1/evaluation", "/access/v1/evaluations"
POLICY = """callers: {executor-7: {types: [todo, record, broken, sql], subjects: [user]}}
types:
  todo: {allow: {read: [carol], purge: [carol], delete: [carol], keep: [carol]}, never: [purge], approve: [delete],
         obligations: {keep: [{type: require-reason}, {type: max-rows, parameters: {rows: 5}}]}}
  record: {entrypoint: records.access, never: [purge], approve: [delete]}
  broken: {entrypoint: records.broken}
"""
RECORDS = """package records.access

default decision := false

decision if input.subject.id == "stranger"

decision if input.resource.properties.status == "active"
"""
BROKEN = """package records.broken

decision := "yes"
"""
USER = {"type": "user", "id": "carol"}
READ = {"name": "read"}
TODO = {"type": "todo", "id": "1"}
ASKED: dict[str, Any] = {"subject": USER, "action": READ, "resource": TODO}


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """status, headers by their names in lower case, and the body, read as JSON where it is."""
    async with asyncio.timeout(15):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    is_json = headers.get("content-type", "").startswith("application/json")
    return int(head[0].split(" ")[1]), headers, json.loads(body) if is_json and body else body


class Pep:
    def __init__(self, run: Running, http: aiohttp.ClientSession) -> None:
        self.run, self.http = run, http
        self.base = f"http://{run.service.http.address}"
        self.token = run.token("executor-7", "application")

    async def post(self, path: str, body: object, **headers: str) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(self.base + path, data=data, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers

    async def raw(self, sent: bytes, *, answers: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        """What is answered to these very bytes, until so many answers have come."""
        host, _, port = self.run.service.http.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        found = []
        try:
            writer.write(sent)
            for _ in range(answers):
                found.append(await answer(reader))
        finally:
            writer.close()
            await writer.wait_closed()
        return found

    def spelt(self, body: bytes, *lines: str, path: str = ONE, method: str = "POST") -> bytes:
        """A request as it travels. `lines`: further header lines."""
        address = self.run.service.http.address
        head = [
            f"{method} {path} HTTP/1.1", f"Host: {address}", f"Authorization: Bearer {self.token}",
            "Content-Type: application/json", f"Content-Length: {len(body)}", *lines,
        ]  # fmt: skip
        return "\r\n".join([*head, "", ""]).encode() + body

    async def records(self, kind: str = "evaluation") -> list[Any]:
        found = [json.loads(line) async for _, line in self.run.service.log.read(0, None)]
        return [one for one in found if one["kind"] == kind]

    async def decides(self, **changes: Any) -> bool:
        status, body, _ = await self.post(ONE, {**ASKED, **changes})
        assert status == 200, body
        assert isinstance(body["decision"], bool)
        return bool(body["decision"])


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    policy: str = POLICY,
    rego: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    **document: Any,
) -> AsyncIterator[Pep]:
    """policy: authzen.yaml. rego: files of entrypoints. data: other files of policy data.
    document: other members of the settings document."""
    rules, files = folder / "rego", folder / "data"
    shutil.copytree(shipped_rego(), rules)
    for name, text in (rego or {"records": RECORDS, "broken": BROKEN}).items():
        (rules / f"{name}.rego").write_text(text)
    files.mkdir()
    for name, text in {"authzen": policy, **(data or {})}.items():
        (files / f"{name}.yaml").write_text(text)
    settings = {"policy": {"rego": str(rules), "data": str(files)}, **document}
    async with running(folder, document=settings) as run, aiohttp.ClientSession() as http:
        yield Pep(run, http)
