"""That something changed, as server-sent events: never what. The page then asks for itself anew, as anybody would.

Once a second the session is judged again, so that who is revoked is out of an open page within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Final

from aiohttp import web

from decision.approvals.service import Approvals
from decision.errors import DecisionError, TokenError
from decision.model import Subject
from decision.web.browsers import Browser, Browsers
from decision.web.pages import SERVICE

BEAT_S: Final = 1.0
MAX_STREAMS: Final = 200
MAX_OF_ONE: Final = 8
LONGEST_S: Final = 900.0  # browsers come again by themselves
_WRITE_S: Final = 5.0


class Live:
    def __init__(self, *, browsers: Browsers, approvals: Approvals) -> None:
        self._browsers = browsers
        self._approvals = approvals
        self._open: Counter[bytes] = Counter()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/events", self.events),
            web.get("/requests/{id:apr_[a-z2-7]{26}}/events", self.events),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        browser = await self._browsers.of(request, passive=True)
        viewer = await self._browsers.permit(browser, f"{SERVICE}/Watch")
        named = request.match_info.get("id")
        if named is not None:
            await self._approvals.get(viewer, named)
        if self._open.total() >= MAX_STREAMS or self._open[browser.key] >= MAX_OF_ONE:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})
        self._open[browser.key] += 1
        try:
            return await self._stream(request, browser, viewer, named)
        finally:
            self._open[browser.key] -= 1
            if not self._open[browser.key]:
                del self._open[browser.key]

    async def _stream(
        self, request: web.Request, browser: Browser, viewer: Subject, named: str | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        changed = asyncio.Event()
        watching = asyncio.ensure_future(self._watch(viewer, named, changed))
        try:
            async with asyncio.timeout(LONGEST_S):
                await response.prepare(request)
                await self._beat(response, browser, changed, watching)
        except (TimeoutError, ConnectionError):
            pass  # the browser went away, or comes again
        except TokenError:
            with contextlib.suppress(TimeoutError, ConnectionError):  # it may be gone already: it was logged out there
                await _send(response, "ended")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return response

    async def _beat(
        self,
        response: web.StreamResponse,
        browser: Browser,
        changed: asyncio.Event,
        watching: asyncio.Future[None],
    ) -> None:
        while True:
            await self._browsers.still(browser)
            await _send(response, "changed" if changed.is_set() else "beat")
            changed.clear()
            if watching.done():
                return
            await asyncio.sleep(BEAT_S)

    async def _watch(self, viewer: Subject, named: str | None, changed: asyncio.Event) -> None:
        try:
            async for _ in self._approvals.watch(viewer, () if named is None else (named,)):
                changed.set()
        except DecisionError:
            changed.set()  # slow, or not for this viewer any more: the page finds out


async def _send(response: web.StreamResponse, event: str) -> None:
    async with asyncio.timeout(_WRITE_S):
        await response.write(f"event: {event}\ndata: -\n\n".encode())
