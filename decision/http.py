"""A small HTTP face on loopback: /metrics, /healthz (the process runs), /readyz (decisions can be made)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from decision.metrics import Metrics

MAX_BODY = 64 << 10  # two tokens of 16 KiB, written as a form
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Http:
    """Made by `start`, ended by `close`."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self._runner = runner
        self.address = address  # host:port actually bound

    @classmethod
    async def start(
        cls, address: str, *, metrics: Metrics, ready: Callable[[], bool], routes: Iterable[web.AbstractRouteDef] = ()
    ) -> Http:
        """`routes`: further ones. Raises OSError when the address is taken."""
        host, _, port = address.rpartition(":")

        async def get_metrics(_request: web.Request) -> web.Response:
            headers = {**_NO_STORE, "Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
            return web.Response(body=metrics.text(), headers=headers)

        async def get_health(_request: web.Request) -> web.Response:
            return web.Response(text="ok\n", headers=_NO_STORE)

        async def get_ready(_request: web.Request) -> web.Response:
            if ready():
                return web.Response(text="ready\n", headers=_NO_STORE)
            return web.Response(status=503, text="not ready\n", headers=_NO_STORE)

        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_get("/metrics", get_metrics)
        application.router.add_get("/healthz", get_health)
        application.router.add_get("/readyz", get_ready)
        application.add_routes(routes)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=15.0, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host.strip("[]"), int(port))
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        bound = runner.addresses[0]
        return cls(runner, f"{host}:{bound[1]}")

    async def close(self) -> None:
        await self._runner.cleanup()
