"""A small HTTP face: /metrics, /healthz (the process runs), /readyz (decisions can be made)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from decision.metrics import Metrics

MAX_BODY = 64 << 10  # two tokens of 16 KiB, written as a form
NO_STORE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def _identified(request: web.Request, answer: web.StreamResponse) -> None:
    """Every answer to a request that could be read, also those the library makes (404, 405, 413, 500): the caller's
    X-Request-ID as it came (AuthZEN, section 10.1.12), and nothing to be kept that doesn't say it may be. An identifier
    that is no UTF-8, or holds a control character, can't be written into a header and isn't repeated."""
    given = request.headers.get("X-Request-ID")
    if given is not None and all(" " <= one != "\x7f" and not "\ud800" <= one <= "\udfff" for one in given):
        answer.headers["X-Request-ID"] = given
    for name, value in NO_STORE.items():
        answer.headers.setdefault(name, value)


class Http:
    """Made by `start`, ended by `close`."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self._runner = runner
        self.address = address  # host:port actually bound

    @classmethod
    async def start(
        cls,
        address: str,
        *,
        metrics: Metrics,
        ready: Callable[[], bool],
        routes: Iterable[web.AbstractRouteDef] = (),
        tls: ssl.SSLContext | None = None,
    ) -> Http:
        """`routes`: further ones. Raises OSError when the address is taken."""
        host, _, port = address.rpartition(":")

        async def get_metrics(_request: web.Request) -> web.Response:
            headers = {**NO_STORE, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            return web.Response(body=metrics.text(), headers=headers)

        async def get_health(_request: web.Request) -> web.Response:
            return web.Response(text="ok\n", headers=NO_STORE)

        async def get_ready(_request: web.Request) -> web.Response:
            if ready():
                return web.Response(text="ready\n", headers=NO_STORE)
            return web.Response(status=503, text="not ready\n", headers=NO_STORE)

        application = web.Application(client_max_size=MAX_BODY)
        application.on_response_prepare.append(_identified)
        application.router.add_get("/metrics", get_metrics)
        application.router.add_get("/healthz", get_health)
        application.router.add_get("/readyz", get_ready)
        application.add_routes(routes)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=15.0, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=tls)
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        bound = runner.addresses[0]
        return cls(runner, f"{host}:{bound[1]}")

    async def close(self) -> None:
        await self._runner.cleanup()
