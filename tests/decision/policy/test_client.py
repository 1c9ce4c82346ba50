"""A remote OPA that misbehaves in every way, and one that doesn't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from decision.errors import DecisionError, PolicyError, PolicyLoadError, PolicyUnavailableError
from decision.model import Outcome
from decision.policy.client import OpaClient
from decision.policy.engine import Engine, start_engine
from decision.policy.opa_process import OpaSettings
from tests.decision.policy.support import Events, make_sources

VALID = {
    "outcome": "allow",
    "reasons": [],
    "obligations": [],
    "needs": [],
    "approval": None,
    "lease": None,
    "durability": "before",
    "window": None,
}
PROVENANCE = {"version": "1", "bundles": {"main": {"revision": "r1"}}}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """A scripted stand-in for a remote OPA. `answer` handles the question; every request is kept."""

    def __init__(self) -> None:
        self.answer: Handler = self.valid
        self.healthy = True
        self.requests: list[web.Request] = []
        self.bundles: object = PROVENANCE
        self.url = ""

    async def valid(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"result": VALID, "provenance": self.bundles})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/health":
            return web.json_response({}, status=200 if self.healthy else 500)
        return await self.answer(request)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def engine(tmp_path: Path, server: Server, events: Events) -> AsyncIterator[Engine]:
    settings = OpaSettings(None, server.url, "remote-token")
    engine = await start_engine(make_sources(tmp_path), settings, on_event=events, watch=False)
    yield engine
    await engine.close()


def respond(**fields: object) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(**fields)  # type: ignore[arg-type]

    return handler


async def test_a_good_answer_and_what_was_asked(engine: Engine, server: Server) -> None:
    result = await engine.evaluate({"question": "x"})
    assert result.outcome is Outcome.ALLOW
    asked = server.requests[-1]
    assert asked.method == "POST"
    assert asked.path == "/v1/data/twokey/main/decision"
    assert dict(asked.query) == {"strict-builtin-errors": "true", "provenance": "true"}
    assert asked.headers["Authorization"] == "Bearer remote-token"


@pytest.mark.parametrize(
    "handler",
    [
        respond(status=500, text='{"code": "internal_error"}'),
        respond(status=503),
        respond(status=401, text="{}"),
        respond(status=204),
        respond(status=201, text='{"result": {}}'),
        respond(status=302, headers={"Location": "/v1/data/elsewhere"}),
        respond(text="{}"),
        respond(text=""),
        respond(text="garbage"),
        respond(text='{"result": tr'),
        respond(text="[]"),
        respond(text="null"),
        respond(text='{"result": null, "provenance": {"bundles": {"m": {"revision": "r"}}}}'),
        respond(text='{"result": "true", "provenance": {"bundles": {"m": {"revision": "r"}}}}'),
        respond(text='{"result": true, "provenance": {"bundles": {"m": {"revision": "r"}}}}'),
        respond(text='{"result": [], "provenance": {"bundles": {"m": {"revision": "r"}}}}'),
        respond(text='{"result": NaN}'),
        respond(body=b"\xff\xfe"),
        respond(body=b" " * (4 * 1024 * 1024 + 1)),
        respond(body=b"[" * 100_000),
    ],
)
async def test_anything_but_200_with_a_valid_result_is_a_policy_error(
    engine: Engine, server: Server, handler: Handler
) -> None:
    server.answer = handler
    with pytest.raises(PolicyError):
        await engine.evaluate({"question": "x"})
    server.answer = server.valid
    assert (await engine.evaluate({"question": "x"})).outcome is Outcome.ALLOW


async def test_a_redirect_is_not_followed(engine: Engine, server: Server) -> None:
    server.answer = respond(status=307, headers={"Location": "/v1/data/elsewhere"})
    with pytest.raises(PolicyError, match="307"):
        await engine.evaluate({"question": "x"})
    assert all(request.path != "/v1/data/elsewhere" for request in server.requests)


@pytest.mark.parametrize(
    "bundles", [None, {}, {"bundles": {}}, {"bundles": {"m": {}}}, {"bundles": {"m": {"revision": ""}}}]
)
async def test_an_answer_that_names_no_revision_is_refused(engine: Engine, server: Server, bundles: object) -> None:
    server.bundles = bundles
    with pytest.raises(PolicyError, match="revision"):
        await engine.evaluate({"question": "x"})


async def test_another_remote_bundle_is_another_revision(engine: Engine, server: Server) -> None:
    told: list[str] = []
    first = (await engine.evaluate({"question": "x"})).revision
    engine.on_change(told.append)
    assert (await engine.evaluate({"question": "x"})).revision == first == engine.revision
    server.bundles = {"bundles": {"main": {"revision": "r2"}}}
    second = (await engine.evaluate({"question": "x"})).revision
    assert second != first
    assert told == [second] == [engine.revision]


async def test_slow_answers_are_late_at_the_deadline(engine: Engine, server: Server) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(40):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    server.answer = drip
    began = time.monotonic()
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate({"question": "x"})
    assert 0.9 < time.monotonic() - began < 1.2


async def test_a_connection_cut_mid_answer_is_unavailable(engine: Engine, server: Server) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"result":')
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answer = cut
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate({"question": "x"})


async def test_one_retry_where_the_connection_was_already_closed(engine: Engine, server: Server) -> None:
    cuts = 0

    async def cut_once(request: web.Request) -> web.StreamResponse:
        nonlocal cuts
        cuts += 1
        if cuts == 1:
            assert request.transport is not None
            request.transport.close()
        return await server.valid(request)

    server.answer = cut_once
    assert (await engine.evaluate({"question": "x"})).outcome is Outcome.ALLOW
    assert cuts == 2


async def test_connections_are_kept(engine: Engine, server: Server) -> None:
    for _ in range(3):
        await engine.evaluate({"question": "x"})
    peers = {request.transport and id(request.protocol) for request in server.requests if request.method == "POST"}
    assert len(peers) == 1


async def test_an_unhealthy_remote_is_refused_at_once_and_returns(
    engine: Engine, server: Server, events: Events
) -> None:
    server.healthy = False
    await events.until(lambda names: "opa-exited" in names)
    assert not engine.ready
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate({"question": "x"})
    server.healthy = True
    await events.until(lambda names: "opa-started" in names)
    assert (await engine.evaluate({"question": "x"})).outcome is Outcome.ALLOW


async def test_a_remote_that_is_not_there_leaves_everything_denied(tmp_path: Path) -> None:
    settings = OpaSettings(None, "http://127.0.0.1:1", "t")
    engine = await start_engine(make_sources(tmp_path), settings, watch=False)
    try:
        assert not engine.ready
        with pytest.raises(PolicyUnavailableError):
            await engine.evaluate({"question": "x"})
    finally:
        await engine.close()


@pytest.mark.parametrize(
    "url",
    ["http://opa.example:8181", "ftp://127.0.0.1", "opa", "https://u:p@opa.example", "https://opa.example/?a=b", ""],
)
def test_a_url_that_would_carry_the_token_in_clear_is_refused(url: str) -> None:
    with pytest.raises(PolicyLoadError) as caught:
        OpaClient(url, "topsecret", provenance=True)
    assert "topsecret" not in str(caught.value)
    assert "u:p" not in str(caught.value)
    assert isinstance(caught.value, DecisionError)
