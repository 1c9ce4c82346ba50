"""Answers of the local OPA: whole, strict, bounded, in whatever pieces they come; connections kept or dropped."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import PolicyError
from decision.policy import wire
from decision.policy.wire import BadAnswerError, ResponseReader, Session

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"result": 1}'
CHUNKED = b'HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\nDate: x\r\n\r\n5\r\n{"res\r\n08\r\nult": 1}\r\n0\r\n\r\n'
EMPTY = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@given(st.sampled_from([PLAIN, CHUNKED, EMPTY]), st.lists(st.integers(0, len(CHUNKED))))
def test_an_answer_is_the_same_in_any_pieces(answer: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    reader = ResponseReader()
    got = [reader.feed(answer[start:end]) for start, end in itertools.pairwise(places)]
    assert got[:-1] == [None] * (len(got) - 1)
    assert got[-1] is not None
    expected = {PLAIN: (200, b'{"result": 1}'), CHUNKED: (500, b'{"result": 1}'), EMPTY: (204, b"")}
    assert (got[-1].status, got[-1].body) == expected[answer]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n Content-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n12345\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234567\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 17,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
    ],
)
def test_anything_else_is_refused(answer: bytes) -> None:
    with pytest.raises(BadAnswerError):
        ResponseReader().feed(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (wire.MAX_ANSWER + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (wire.MAX_ANSWER + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))) * 4
        + b"1\r\n",
    ],
)
def test_an_answer_too_long_is_the_policys_fault(answer: bytes) -> None:
    with pytest.raises(PolicyError, match="4 MiB"):
        ResponseReader().feed(answer)


@given(st.binary(max_size=400), st.sampled_from([b"", PLAIN[:-13], CHUNKED[:58]]))
def test_no_bytes_make_it_fail_otherwise(tail: bytes, start: bytes) -> None:
    reader = ResponseReader()
    try:
        reader.feed(start)
        response = reader.feed(tail)
    except BadAnswerError:
        return
    assert response is None or len(response.body) <= len(tail)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A scripted server: `serve` handles each connection."""

    def __init__(self) -> None:
        self.serve: Serve = self.plain
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.session = Session(Path("/nowhere"), {}, server=None)

    async def read(self, reader: asyncio.StreamReader) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        return True

    async def plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self.read(reader):
            writer.write(PLAIN)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.serve(reader, writer)
        finally:
            writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    scripted = Server()
    listening = await asyncio.start_unix_server(scripted.accept, tmp_path / "s")
    scripted.session = Session(tmp_path / "s", {"Authorization": "Bearer t"}, server=os.getpid())
    yield scripted
    await scripted.session.close()
    listening.close()


async def ask(server: Server, body: bytes = b"{}") -> wire.Response:
    async with asyncio.timeout(5):
        return await server.session.request("POST", f"{wire.BASE}/v1/x?y=z", data=body)


async def test_a_connection_is_kept_and_the_question_is_what_was_asked(server: Server) -> None:
    for _ in range(3):
        assert (await ask(server)).body == b'{"result": 1}'
    assert server.connections == 1
    expected = b"POST /v1/x?y=z HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n"
    assert server.heads == [expected] * 3


async def test_questions_at_once_have_connections_of_their_own_up_to_a_bound(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.session, "_room", asyncio.Semaphore(4))
    bodies = [b"%d" % number for number in range(40)]
    await asyncio.gather(*(ask(server, body) for body in bodies))
    assert server.connections <= 4
    assert sorted(server.bodies) == sorted(bodies)


async def test_a_large_question_arrives_whole(server: Server) -> None:
    body = bytes(range(256)) * 9000
    await ask(server, body)
    assert server.bodies == [body]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", aiohttp.ServerDisconnectedError),
        (PLAIN[:20], BadAnswerError),
        (PLAIN[:-1], BadAnswerError),
        (CHUNKED[:-1], BadAnswerError),
        (b"nonsense\r\n\r\n", BadAnswerError),
        (PLAIN + b"x", BadAnswerError),
    ],
)
async def test_what_is_cut_or_wrong_is_an_error_and_its_connection_is_over(
    server: Server, answer: bytes, error: type[Exception]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(answer)
        await writer.drain()

    server.serve = serve
    with pytest.raises(error):
        await ask(server)
    server.serve = server.plain
    assert (await ask(server)).status == 200
    assert server.connections == 2


async def test_an_answer_to_a_question_given_up_is_never_the_next_ones(server: Server) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        asked.set()
        await go.wait()
        writer.write(PLAIN.replace(b"1}", b"2}"))

    server.serve = late
    first = asyncio.ensure_future(ask(server))
    await asked.wait()
    first.cancel()
    server.serve = server.plain
    go.set()
    assert (await ask(server)).body == b'{"result": 1}'
    assert server.connections == 2
    assert first.cancelled()


@pytest.mark.parametrize("unasked", [PLAIN, b"x"])
async def test_bytes_that_nobody_asked_for_end_the_connection(server: Server, unasked: bytes) -> None:
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(PLAIN)
        await more.wait()
        writer.write(unasked)
        await reader.read()

    server.serve = serve
    await ask(server)
    server.serve = server.plain
    more.set()
    async with asyncio.timeout(5):
        while server.session._idle:  # noqa: ASYNC110 - a network away
            await asyncio.sleep(0.001)
    assert (await ask(server)).body == b'{"result": 1}'
    assert server.connections == 2


async def test_a_server_that_says_it_closes_is_believed(server: Server) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(PLAIN.replace(b"Content-Type: application/json", b"Connection: close"))

    server.serve = serve
    for count in (1, 2):
        assert (await ask(server)).status == 200
        assert server.connections == count


async def test_a_session_asks_only_its_own_server_and_nothing_once_closed(server: Server) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await server.session.request("GET", "http://localhost.example/v1")
    with pytest.raises(aiohttp.ClientConnectionError):
        await server.session.request("GET", f"{wire.BASE}/v1", allow_redirects=True)
    await ask(server)
    await server.session.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(server)


async def test_another_process_on_the_socket_is_told_nothing(server: Server, tmp_path: Path) -> None:
    """Whoever could listen there in OPA's place would be given the token, and believed."""
    stranger = Session(tmp_path / "s", {"Authorization": "Bearer t"}, server=os.getppid())
    with pytest.raises(aiohttp.ClientConnectionError, match="somebody else"):
        await stranger.request("GET", f"{wire.BASE}/health")
    await ask(server)
    assert len(server.heads) == 1


async def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await Session(tmp_path / "none", {}, server=None).request("GET", f"{wire.BASE}/health")
