"""The addresses of this service that may be told to who asks: known ones, never what a request says of itself."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from decision.rpc.auth import Origins

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


def known(origins: Origins) -> list[str]:
    return [call.removesuffix("/") for call in origins.call("GET", "/").addresses]


def base(origins: Origins, request: web.Request) -> str | None:
    """Of the address that was asked, where it is one of this service's; plain http only on loopback. Host is believed
    only as far as it names an address that is known already."""
    asked_host, asked_port = _split(request.host.lower())
    for origin in known(origins):
        scheme, _, where = origin.partition("://")
        host, port = _split(where)
        default = "443" if scheme == "https" else "80"
        same = host == asked_host or {host, asked_host} <= _LOOPBACK
        if same and (port or default) == (asked_port or default) and (scheme == "https" or host in _LOOPBACK):
            return origin if host == asked_host else f"{scheme}://{request.host.lower()}"
    return None


def some_base(origins: Origins, request: web.Request) -> str:
    """As `base`; where another was asked, the first that is https, or the first."""
    found = base(origins, request)
    if found is not None:
        return found
    every = known(origins)
    return next((one for one in every if one.startswith("https://")), every[0])


def _split(where: str) -> tuple[str, str]:
    """host and port, "" where there is none; an IPv6 address in its brackets."""
    host, _, port = where.rpartition(":") if ":" in where.rpartition("]")[2] else (where, "", "")
    return host, port
