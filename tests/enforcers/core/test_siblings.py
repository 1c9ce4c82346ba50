"""Workers hear each other, and nothing hangs on one that is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from enforcers.core import siblings as module
from enforcers.core.errors import ProtocolError
from enforcers.core.siblings import MAX_MESSAGE, Siblings, pairs

Sockets = tuple[list[socket.socket], list[socket.socket]]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    inboxes, outboxes = pairs(3)
    yield inboxes, outboxes
    for item in (*inboxes, *outboxes):
        item.close()


async def test_a_message_is_heard_by_whom_it_is_for_and_then_answered(sockets: Sockets) -> None:
    inboxes, outboxes = sockets
    heard: list[tuple[int, bytes]] = []
    workers = [Siblings(index, inboxes[index], outboxes) for index in range(3)]
    for worker in workers:
        worker.listen(lambda message, index=worker.index: heard.append((index, message)))  # type: ignore[misc]  # bound
    assert await workers[0].tell(2, b"one")
    assert await workers[2].tell(1, b"")
    assert heard == [(2, b"one"), (1, b"")]
    assert await asyncio.gather(*(workers[0].tell(1, b"x") for _ in range(100))) == [True] * 100
    assert not await workers[0].tell(0, b"itself")
    assert not await workers[0].tell(3, b"nobody")
    with pytest.raises(ProtocolError):
        await workers[0].tell(1, b"x" * (MAX_MESSAGE + 1))
    for worker in workers:
        worker.close()


async def test_one_that_does_not_answer_is_not_waited_for_long(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    inboxes, outboxes = sockets
    one = Siblings(0, inboxes[0], outboxes)
    one.listen(lambda _message: None)
    assert not await one.tell(1, b"x")
    many = await asyncio.gather(*(one.tell(1, b"x" * MAX_MESSAGE) for _ in range(1000)))  # its queue is full
    assert not any(many)
    late = Siblings(1, inboxes[1], outboxes)  # started again: what waited for its predecessor does no harm
    heard: list[bytes] = []
    late.listen(heard.append)
    async with asyncio.timeout(5):
        while not await one.tell(1, b"fresh"):  # noqa: ASYNC110 - until its queue was read, which nobody announces
            await asyncio.sleep(0)
    assert heard[-1] == b"fresh"
    one.close()
    late.close()


async def test_garbage_is_passed_over(sockets: Sockets) -> None:
    inboxes, outboxes = sockets
    one = Siblings(0, inboxes[0], outboxes)
    heard: list[bytes] = []
    one.listen(heard.append)
    other = Siblings(1, inboxes[1], outboxes)
    other.listen(heard.append)
    for raw in (b"", b"x", b"\1" + bytes(10), b"\0\xff\xff" + bytes(8) + b"who", b"\7" * 400):
        outboxes[0].send(raw)
    assert await other.tell(0, b"after")
    assert heard == [b"after"]
    one.close()
    other.close()
