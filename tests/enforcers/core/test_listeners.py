"""One socket an address; shared ones by SO_REUSEPORT only."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

from enforcers.core import listeners as module
from enforcers.core.errors import SettingsError
from enforcers.core.listeners import Acceptor, bind
from enforcers.settings import Address

ANY = Address("127.0.0.1", 0)


def test_connections_of_one_address_share_a_socket() -> None:
    listeners = bind({"crm": ANY, "erp": ANY}, shared=False)
    try:
        assert len(listeners.sockets) == 1
        assert listeners.addresses["crm"] == listeners.addresses["erp"]
        assert listeners.addresses["crm"].port != 0
        listeners.sockets[0].listen()
        for shared in (False, True):
            with pytest.raises(SettingsError, match="can't be bound"):
                bind({"crm": listeners.addresses["crm"]}, shared=shared).close()
    finally:
        listeners.close()


def test_workers_share_a_port() -> None:
    first = bind({"crm": ANY}, shared=True)
    second = bind({"crm": first.addresses["crm"]}, shared=True)
    assert first.addresses == second.addresses
    first.close()
    second.close()


class Exhausted(socket.socket):
    """A listening socket whose process is out of descriptors for so many calls."""

    left = 3

    def accept(self) -> tuple[socket.socket, object]:
        if self.left:
            type(self).left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with Exhausted() as item:
        item.bind(("127.0.0.1", 0))
        yield item


async def connected(item: socket.socket) -> socket.socket:
    client = socket.socket()
    client.settimeout(0)
    await asyncio.get_running_loop().sock_connect(client, item.getsockname())
    return client


async def test_out_of_descriptors_who_waits_waits_on(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EXHAUSTED_SECONDS", 0.05)
    monkeypatch.setattr(Exhausted, "left", 3)
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    acceptor = Acceptor([listening], lambda connection, _host, _port: taken.put_nowait(connection))
    clients = [await connected(listening) for _ in range(3)]
    async with asyncio.timeout(5):
        for _ in clients:
            (await taken.get()).close()
    assert Exhausted.left == 0
    acceptor.close()
    for client in clients:
        client.close()


async def test_while_paused_they_wait_and_when_closed_none_is_taken(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exhausted, "left", 0)
    taken: asyncio.Queue[tuple[socket.socket, str, int]] = asyncio.Queue()
    acceptor = Acceptor([listening], lambda *found: taken.put_nowait(found))
    acceptor.pause()
    client = await connected(listening)
    await asyncio.sleep(0)
    assert taken.empty()
    acceptor.resume()
    async with asyncio.timeout(5):
        connection, host, port = await taken.get()
    assert (host, port) == client.getsockname()
    assert connection.gettimeout() == 0
    acceptor.close()
    acceptor.close()
    acceptor.resume()
    assert listening.fileno() == -1
    connection.close()
    client.close()
