"""asyncpg's log-in, watched: what a session's own log-in would not answer, it is not asked either."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.supervise import Supervisor
from enforcers.postgres import wire
from enforcers.postgres.source import LiveSource
from enforcers.postgres.target import Target
from enforcers.postgres.watched_login import WatchedLogin
from tests.enforcers.postgres.test_real_target import PASSWORD, Server, server  # noqa: F401 - a fixture

METHODS = {"by_scram": "scram-sha-256", "by_md5": "md5", "by_cleartext": "password", "by_trust": "none"}


def source(target: Target, user: str) -> LiveSource:
    async def credential(_role: str) -> tuple[str, str]:
        return user, PASSWORD

    return LiveSource(target, credential, Supervisor(lambda _name, _error: None), catalog_role="default")


@pytest.mark.parametrize("user", list(METHODS))
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_only_what_is_accepted_is_answered(server: Server, user: str, factory: object) -> None:  # noqa: F811
    """Every method on both loops, where a cleartext password and md5 are not accepted: as far away and in the clear."""

    async def main() -> None:
        target = replace(server.url("sslmode=disable"), require_auth=frozenset({"scram-sha-256"}))
        if METHODS[user] in {"password", "md5"}:
            with pytest.raises((ConnectionError, asyncpg.PostgresConnectionError)):
                await source(target, user).connect("default")
            return
        connection = await source(target, user).connect("default")
        assert await connection.fetchval("SELECT repeat('x', 200000)") == "x" * 200_000
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(20)", timeout=0.1)  # its cancel request is watched as well
        assert await connection.fetchval("SELECT session_user") == user
        await connection.close()

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]  # one of two callables
        runner.run(main())


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.protocol: asyncio.BaseProtocol | None = None

    def abort(self) -> None:
        self.aborted = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Inner(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


def auth(method: int, body: bytes = b"") -> bytes:
    return wire.message(b"R", method.to_bytes(4, "big") + body)


@given(st.sampled_from([3, 5]), st.integers(1, 40), st.lists(st.sampled_from([b"N", b"S", b"v"]), max_size=3))
def test_the_question_is_found_however_it_is_cut(method: int, size: int, before: list[bytes]) -> None:
    inner, transport = Inner(), Transport()
    watched = WatchedLogin(inner, lambda _method: False)
    watched.connection_made(transport)
    asked = auth(method, b"salt")
    data = b"".join(wire.message(kind, b"body\0") for kind in before) + asked
    for start in range(0, len(data), size):
        if not transport.aborted:
            watched.data_received(data[start : start + size])
    assert transport.aborted
    assert asked not in inner.got
    assert b"R" not in inner.got[-9:]


@given(st.integers(1, 60))
def test_all_else_goes_on_unchanged(size: int) -> None:
    inner, transport = Inner(), Transport()
    watched = WatchedLogin(inner, lambda _method: False)
    watched.connection_made(transport)
    data = auth(10, b"SCRAM-SHA-256\0\0") + auth(11, b"r=x") + auth(12, b"v=x") + auth(0) + wire.ready(b"I")
    for start in range(0, len(data), size):
        (transport.protocol or watched).data_received(data[start : start + size])  # type: ignore[attr-defined]  # either
    assert inner.got == data
    assert transport.protocol is inner
    assert not transport.aborted
