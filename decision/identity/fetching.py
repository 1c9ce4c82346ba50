"""Asking a provider over HTTP: bounded, without redirects, and at an address that was judged.

An address is looked up once for each request, judged, and then connected to as it was judged: a name that means this
machine or the provider's own network at the second look would reach it otherwise (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

import httpx

from decision.identity.jose import strict_object

MAX_BODY = 256 * 1024
TIMEOUT_S = 5.0
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # host, port: its addresses


class Fetcher:
    """`loopback` allows plain http to this machine (dev only); `private` allows https to addresses that are not
    public, for a provider on one's own network."""

    def __init__(
        self,
        *,
        loopback: bool = False,
        private: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._loopback = loopback
        self._private = private or loopback
        self._resolve = resolve or look_up
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=0),
            transport=transport,
            verify=ssl.create_default_context(),  # the machine's roots, or those of SSL_CERT_FILE
        )

    async def get_object(self, address: str) -> Mapping[str, object]:
        """The JSON object at an address. Raises ValueError, OSError or httpx.HTTPError."""
        status, answer = await self._ask("GET", address, {}, None)
        if status != httpx.codes.OK:
            raise ValueError(f"HTTP {status}")
        return answer

    async def post_form(
        self, address: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, object]]:
        """The status and the JSON object that a form is answered with. Raises ValueError, OSError, httpx.HTTPError."""
        return await self._ask("POST", address, headers, form)

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(
        self, method: str, address: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, Mapping[str, object]]:
        if not may_fetch(address, loopback=self._loopback):
            raise ValueError("the address is not https")
        content = bytearray()
        url = httpx.URL(address)
        host = await self._judged(url.host, url.port or (443 if url.scheme == "https" else 80))
        sent = {"Accept-Encoding": "identity", "Host": url.netloc.decode("ascii"), **headers}
        extensions = {"sni_hostname": url.host}  # the certificate is checked against the name all the same
        target = url.copy_with(host=host)
        async with self._client.stream(method, target, headers=sent, data=form, extensions=extensions) as response:
            if form is None and response.status_code != httpx.codes.OK:
                return response.status_code, {}
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_BODY:
                    raise ValueError("the answer is larger than 256 KiB")
        return response.status_code, strict_object(bytes(content))

    async def _judged(self, host: str, port: int) -> str:
        """An address of `host` that may be asked. Raises ValueError: one is not public; OSError: there is none."""
        found = await self._resolve(host, port)
        if not self._private and not all(is_public(address) for address in found):
            raise ValueError("its address is not a public one; `private_network: true` allows that")
        return found[0]


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, at least one. Raises OSError."""
    found = await get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise OSError("the name has no address")
    return addresses


def is_public(address: str) -> bool:
    """An address that anybody's network may use: not loopback, private, link-local (metadata services), multicast."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast


def plain(address: str) -> bool:
    """A URL without user, query and fragment: an issuer (OpenID Connect Discovery 1.0, section 3)."""
    parts = urlsplit(address)
    return not (parts.username or parts.password or parts.query or parts.fragment or "?" in address or "#" in address)


def may_fetch(address: str, *, loopback: bool) -> bool:
    """https anywhere; http only where `loopback` is allowed and the host is a loopback address itself."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and loopback and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """A loopback address, or the name localhost. Other names are not looked up: they may change."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
