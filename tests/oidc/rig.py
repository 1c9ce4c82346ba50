"""The provider as a process, and a proxy of ours before it that can be down, hang, or lie."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
from aiohttp import ClientSession, web
from multidict import CIMultiDict

from tests.decision.identity.holder import Holder
from tests.decision.identity.support import RSA, public
from tools import oidc

START_S = 30
DISCOVERY = "/.well-known/openid-configuration"
_FORM = re.compile(r'<form[^>]*method="post"[^>]*action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_FIELD = re.compile(r'<input[^>]*name="([^"]*)"[^>]*value="([^"]*)"')
_HOP = {"transfer-encoding", "connection", "content-length", "keep-alive", "content-encoding"}


class Rig:
    """`mode`: ok, down (connections are cut), hang, lie (another issuer in discovery), forge (a key set of ours)."""

    def __init__(self) -> None:
        self.issuer = ""
        self.mode = "ok"
        self.hits: list[str] = []
        self.release = asyncio.Event()
        self._target = ""
        self._session: ClientSession | None = None

    # The proxy

    async def handle(self, request: web.Request) -> web.StreamResponse:
        keys = request.path in {DISCOVERY, "/jwks"}
        if keys:
            self.hits.append(request.path)
        if keys and self.mode == "down" and request.transport is not None:
            request.transport.close()
        if keys and self.mode == "hang":
            await self.release.wait()
        if request.path == "/jwks" and self.mode == "forge":
            return web.json_response({"keys": [public(RSA, "forged")]})
        status, headers, body = await self._forward(request)
        if request.path == DISCOVERY and self.mode == "lie":
            body = json.dumps({**json.loads(body), "issuer": f"{self.issuer}/"}).encode()
        return web.Response(status=status, headers=headers, body=body)

    async def _forward(self, request: web.Request) -> tuple[int, CIMultiDict[str], bytes]:
        assert self._session is not None
        async with self._session.request(
            request.method,
            self._target + request.raw_path,
            headers=request.headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            # A list: there are several Set-Cookie.
            kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOP)
            return answer.status, kept, await answer.read()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        modules = await asyncio.to_thread(oidc.obtain)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
        process = await asyncio.create_subprocess_exec(
            oidc.node(),
            str(Path(__file__).with_name("provider.mjs")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"issuer": self.issuer, "modules": str(modules)}).encode() + b"\n")
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
                while not line.startswith(b'{"port"'):
                    assert line, "the provider did not start"
                    line = await process.stdout.readline()
            self._target = f"http://127.0.0.1:{json.loads(line)['port']}"
            async with ClientSession() as self._session:
                yield self
        finally:
            self.release.set()
            process.stdin.close()
            await asyncio.wait_for(process.wait(), 10)
            await runner.cleanup()

    async def keys(self, what: str) -> list[str]:
        """`rotate` (a new key signs, the old are kept) or `retire` (only the newest is left): the kids."""
        async with httpx.AsyncClient() as client:
            found: list[str] = (await client.get(f"{self._target}/_{what}")).json()
        return found

    async def redirect_to(self, *addresses: str) -> None:
        """Where its client `web` may have people sent back to."""
        async with httpx.AsyncClient() as client:
            await client.get(f"{self._target}/_redirect", params={"to": list(addresses)})

    # Its clients

    async def client_credentials(self, client: str, *, scope: str = "", holder: Holder | None = None) -> str:
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": f"secret-of-{client}"}
        if scope:
            form["scope"] = scope
        headers = {} if holder is None else {"DPoP": holder.proof(f"{self.issuer}/token", "", ath=None)}
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self.issuer}/token", data=form, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def authorization_code(self) -> tuple[str, str]:
        """alice at her console, with PKCE: (access token, ID token)."""
        verifier = secrets.token_urlsafe(48)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": "console",
            "response_type": "code",
            "redirect_uri": "https://console.example/callback",
            "scope": "openid twokey:crm:execute",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "nonce": "n",
        }
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.issuer}/auth", params=asked)
            for _ in range(5):
                if answer.headers["location"].startswith("https://console.example/callback"):
                    break
                answer = await http.get(httpx.URL(self.issuer).join(answer.headers["location"]))
            code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
            form = {
                "grant_type": "authorization_code",
                "client_id": "console",
                "code": code,
                "code_verifier": verifier,
                "redirect_uri": "https://console.example/callback",
            }
            tokens = (await http.post(f"{self.issuer}/token", data=form)).json()
        return str(tokens["access_token"]), str(tokens["id_token"])

    # A person's browser

    async def browse(self, url: str) -> str:
        """As alice, who agrees to everything: follow redirects, send the forms that pages show. The last page."""
        async with httpx.AsyncClient(follow_redirects=True) as http:
            answer = await http.get(url)
            for _ in range(5):
                form = _FORM.search(answer.text)
                if form is None:
                    return answer.text
                fields = dict(_FIELD.findall(form[2]))
                answer = await http.post(answer.url.join(html.unescape(form[1])), data={**fields, "confirm": "yes"})
        raise AssertionError(answer.text)
