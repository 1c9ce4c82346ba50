"""Short messages between the workers of one enforcer.

The kernel spreads connections over the workers (SO_REUSEPORT), so whoever accepts a client's cancel request may not be
who holds its session. The parent makes one pair of datagram sockets a worker; every worker inherits its own inbox and
everybody's outbox, which outlive a worker that is started again. Nobody else can reach them: they have no name. A
message is believed only as far as what it carries: a wrong key is as silent here as on the wire.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence

from enforcers.core.errors import ProtocolError

MAX_MESSAGE = 1024  # bytes
MAX_WAITING = 256  # questions under way of one worker
ANSWER_SECONDS = 2.0
_ASK, _ANSWER = 0, 1
_HEADER = 1 + 2 + 8  # kind, sender, number


class Siblings:
    """One worker's end. `heard` is called with each message of another; when it returns, the sender is told."""

    def __init__(self, index: int, inbox: socket.socket, outboxes: Sequence[socket.socket]) -> None:
        self.index = index
        self._inbox = inbox
        self._outboxes = tuple(outboxes)
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._heard: Callable[[bytes], None] = _ignored

    @property
    def count(self) -> int:
        return len(self._outboxes)

    def listen(self, heard: Callable[[bytes], None]) -> None:
        """From now on, on the running loop."""
        self._heard = heard
        self._inbox.settimeout(0)
        for outbox in self._outboxes:
            outbox.settimeout(0)
        asyncio.get_running_loop().add_reader(self._inbox, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._inbox)

    async def tell(self, worker: int, message: bytes) -> bool:
        """True once that worker dealt with it; False when it did not answer in time, or is none of ours."""
        if len(message) > MAX_MESSAGE:
            raise ProtocolError("too long for a sibling")
        if not 0 <= worker < len(self._outboxes) or worker == self.index or len(self._waiting) >= MAX_WAITING:
            return False
        number = secrets.token_bytes(8)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = done
        try:
            if not self._send(worker, _ASK, number, message):
                return False
            async with asyncio.timeout(ANSWER_SECONDS):
                await done
        except TimeoutError:
            return False
        finally:
            del self._waiting[number]
        return True

    def _read(self) -> None:
        for _ in range(64):  # others want the loop too
            try:
                raw = self._inbox.recv(MAX_MESSAGE + _HEADER)
            except OSError:  # nothing left
                return
            if len(raw) < _HEADER:
                continue
            sender, number = int.from_bytes(raw[1:3], "big"), raw[3:_HEADER]
            if raw[0] == _ANSWER:
                done = self._waiting.get(number)
                if done is not None and not done.done():
                    done.set_result(None)
            elif sender < len(self._outboxes):
                self._heard(raw[_HEADER:])
                self._send(sender, _ANSWER, number, b"")

    def _send(self, worker: int, kind: int, number: bytes, message: bytes) -> bool:
        try:
            self._outboxes[worker].send(bytes((kind,)) + self.index.to_bytes(2, "big") + number + message)
        except OSError:  # full, because that worker is dead or stuck
            return False
        return True


def _ignored(_message: bytes) -> None:
    return


def pairs(count: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """(inboxes, outboxes) for so many workers, kept open by their parent."""
    made = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    return [inbox for inbox, _ in made], [outbox for _, outbox in made]
