"""COPY FROM STDIN: while the target takes data, what the client sends is data, passed on and counted.

Source: PostgreSQL documentation, "COPY Operations" in "Message Flow".
"""

from __future__ import annotations

from enforcers.postgres import wire
from enforcers.postgres.machine_calls import Calls

_DATA, _DONE, _FAIL = (ord(c) for c in "dcf")
_SYNC, _FLUSH, _TERMINATE = (ord(c) for c in "SHX")


class Copying(Calls):
    """Adds the client's half of COPY FROM."""

    def on_terminate(self, raw: bytes) -> None:
        raise NotImplementedError

    def copying(self) -> None:
        """The target takes data now."""
        head = self.replies.expects[0]
        self.copied = head.acts[head.index] if head.index < len(head.acts) else None
        self.copy_in = True
        self.await_copy = False

    def copy_message(self, kind: int, raw: bytes) -> None:
        """One of the client's, while `copy_in`."""
        if kind == _DATA and raw:
            self._copy_data(raw)
        elif kind in {_DONE, _FAIL} and raw:
            self.copy_in = False
            self.send(raw)
            if self.flow is not None:
                self.send(wire.FLUSH)  # what watches over it must know how it ended before anything is committed
        elif kind in {_SYNC, _FLUSH}:
            return  # the target ignores both while it takes COPY data
        elif kind == _TERMINATE:
            self.on_terminate(raw)
        else:
            self.copy_in = False
            self.send(wire.message(b"f", b"message too large, or out of order, during COPY\0"))

    def _copy_data(self, raw: bytes) -> None:
        running = self.copied
        if running is not None:
            size = len(raw) - 1
            if running.bytes + size > running.cap:
                running.limited, running.cut = True, "BYTE_LIMIT"
                self.fail_copy()
                return
            running.bytes += size
        self.send(raw)
