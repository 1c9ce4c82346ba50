"""An identity provider on loopback with real keys, and tokens made in every wrong way."""

from __future__ import annotations

import json
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ALL = list(JWSRegistry.algorithms)

RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
OKP = OKPKey.generate_key("Ed25519")


def public(key: Key, kid: str, **members: object) -> dict[str, object]:
    return {**key.as_dict(private=False), "kid": kid, **members}


class Idp:
    """Serves discovery and keys. `jwks` may be replaced; `handlers` override an answer by path."""

    def __init__(self) -> None:
        self.url = ""
        self.jwks: object = {"keys": [public(RSA, "rsa"), public(EC, "ec"), public(OKP, "okp")]}
        self.handlers: dict[str, Handler] = {}
        self.hits: list[str] = []

    @property
    def issuer(self) -> str:
        return self.url

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.hits.append(request.path)
        if request.path in self.handlers:
            return await self.handlers[request.path](request)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"})
        if request.path == "/keys":
            return web.json_response(self.jwks)
        return web.Response(status=404)

    def fetches(self) -> int:
        return self.hits.count("/.well-known/openid-configuration")

    def claims(self, **changes: object) -> dict[str, object]:
        """A good token's claims; a change to None takes the claim out."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.issuer,
            "aud": "twokey",
            "sub": "p1",
            "client_id": "agents",
            "iat": now,
            "exp": now + 600,
            "jti": "t1",
            "groups": ["agents-plan"],
        }
        return {key: value for key, value in (claims | changes).items() if value is not None}

    def token(self, header: dict[str, object] | None = None, key: Key = RSA, **changes: object) -> str:
        return sign(json.dumps(self.claims(**changes)), {"alg": "RS256", "kid": "rsa", **(header or {})}, key)


class _AnyHeader(JWSRegistry):
    max_header_length = 10**6

    def check_header(self, header: object) -> None:
        """The tests make headers that no library would."""


def sign(payload: str | bytes, header: dict[str, object], key: Key) -> str:
    full = {"typ": "at+jwt", **header}
    kept = {name: value for name, value in full.items() if value is not None}
    return serialize_compact(kept, payload, key, registry=_AnyHeader(algorithms=ALL))


def glue(header: str | bytes, payload: str | bytes, signature: str | bytes = b"") -> str:
    return ".".join(b64(part) for part in (header, payload, signature))


def b64(part: str | bytes) -> str:
    return urlsafe_b64encode(part.encode() if isinstance(part, str) else part).rstrip(b"=").decode()


@asynccontextmanager
async def serving(idp: Idp, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Idp]:
    """On loopback; with `tls` as https://localhost."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", idp.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    where = "http://127.0.0.1" if tls is None else "https://localhost"
    idp.url = f"{where}:{runner.addresses[0][1]}"
    try:
        yield idp
    finally:
        await runner.cleanup()


__all__ = ["EC", "OKP", "RSA", "Handler", "Idp", "OctKey", "b64", "glue", "public", "serving", "sign"]
