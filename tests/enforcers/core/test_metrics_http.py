"""The metrics of a gateway over a real socket; and what is no question for them."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from enforcers.core import metrics_http
from enforcers.core.metrics_http import serve_metrics


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("twokey_things", "Things", registry=made).inc(3)
    return made


async def raw(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:  # ended with bytes unread
        return b""
    finally:
        writer.close()


async def test_metrics_are_served_on_loopback_while_it_lasts() -> None:
    async with serve_metrics(registry()) as address, httpx.AsyncClient(trust_env=False) as client:
        assert address.startswith("127.0.0.1:")
        answer = await client.get(f"http://{address}/metrics")
        assert answer.status_code == 200
        assert "twokey_things_total 3.0" in answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await client.get(f"http://{address}/secrets")).status_code == 404
        assert (await client.post(f"http://{address}/metrics")).status_code == 405
    with pytest.raises(ConnectionRefusedError):
        await raw(address, b"")


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", b"GET /metrics\r\n\r\n", b"x" * 20_000 + b"\r\n\r\n"])
async def test_what_is_no_http_is_refused(request_: bytes) -> None:
    async with serve_metrics(registry()) as address:
        answer = await raw(address, request_)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        assert (await raw(address, b"GET /metrics HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_who_says_nothing_is_cut_off_and_a_crowd_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(metrics_http, "AT_ONCE", 2)
    async with serve_metrics(registry()) as address:
        answers = await asyncio.gather(*(raw(address, b"GET") for _ in range(5)))
        assert answers == [b""] * 5
        assert (await raw(address, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_taken_port_is_replaced() -> None:
    async with serve_metrics(registry()) as first:
        port = int(first.rpartition(":")[2])
        async with serve_metrics(registry(), port=port) as second:
            assert second != first
    async with serve_metrics(registry(), port=port) as again:
        assert again == first
