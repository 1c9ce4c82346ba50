"""A gateway with the real describer between two proxies, in a thread of its own, and a client on a plain socket.

The gate is scripted by the words in a statement's comment, because policy is not the subject here; everything between
the two sockets is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeVar

import uvloop

from enforcers.core.ports import Answer, Hold, HoldEnd, HoldResult, MaskedColumn, Question, Ruling
from enforcers.core.supervise import Supervisor
from enforcers.postgres import wire
from enforcers.postgres.gateway import PostgresGateway
from enforcers.postgres.source import LiveSource
from enforcers.postgres.target import Target
from tests.enforcers.postgres.fakes import ALLOW, DENY, HELD, LEASED, ScriptedCore, ScriptedGate, with_duties
from tests.faults.proxy import Proxy

T = TypeVar("T")
Frame = tuple[str, bytes]
_EMAIL = MaskedColumn(
    schema="public", relation="t", column="email", label="email", masker="keep-last", keep=4, fill="*"
)
_PATIENCE = 20.0


def ruling_of(text: str) -> Ruling:
    """Policy: `/*word*/` in the statement."""
    if "/*deny*/" in text:
        return DENY
    if "/*held*/" in text:
        return HELD
    if "/*masked*/" in text:
        return with_duties(ALLOW, mask=(_EMAIL,))
    if "/*limited*/" in text:
        return with_duties(ALLOW, max_rows=3)
    return LEASED if "/*leased*/" in text else ALLOW


class ApprovingGate(ScriptedGate):
    """Every hold is approved, a little later. `granted`: the acts that may run; each must have one outcome."""

    def __init__(self) -> None:
        super().__init__(ruling_of)
        self._asked: set[str] = set()

    @property
    def granted(self) -> int:
        return len(self._asked | {act.operation for act in self.begun})

    async def ask(self, question: Question) -> Ruling:
        ruling = await super().ask(question)
        if ruling.answer is Answer.ALLOWED:
            self._asked.add(question.operation.id)
        return ruling

    async def redeem(self, question: Question, hold: Hold) -> Ruling:
        self._asked.add(question.operation.id)
        return await super().redeem(question, hold)

    async def wait(self, hold: Hold) -> HoldResult:
        await asyncio.sleep(0.002)
        return HoldResult(HoldEnd.APPROVED)


class Bench:
    """start() … stop(); the loop runs beside the test, whose sockets block."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.core = ScriptedCore(ApprovingGate)
        self.failures: list[tuple[str, BaseException]] = []

    def start(self) -> Bench:
        self._thread.start()
        self.run(self._start())
        return self

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def call(self, work: Callable[[], T]) -> T:
        async def there() -> T:
            return work()

        return self.run(there())

    async def _start(self) -> None:
        self.behind = await Proxy("127.0.0.1", self._target_port).start()
        tasks = Supervisor(lambda name, error: self.failures.append((name, error)))

        async def credential(role: str) -> tuple[str, str]:
            return await self.core.credential("crm", role)

        target = Target(host="127.0.0.1", port=self.behind.port, database="postgres", sslmode="disable")
        self.source = LiveSource(target, credential, tasks, catalog_role="executor")
        self.gateway = PostgresGateway(self.core, {"crm": self.source}, tasks=tasks)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        await self.gateway.start([listening])
        self.port = int(listening.getsockname()[1])
        self.before = await Proxy("127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        await self.before.stop()
        await self.gateway.stop()
        await self.behind.stop()


class Client:
    """Blocking, and it believes nothing: what it read is in `seen`, whole frames in order."""

    def __init__(self, port: int, *, user: str, database: str, application: str) -> None:
        self.seen: list[Frame] = []
        self.parts = b""  # of a frame that never ended
        self.key = (0, b"")  # for a CancelRequest
        self.ended = False
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        names = {"user": user, "database": database, "application_name": application}
        self._socket.sendall(wire.startup_packet([(k.encode(), v.encode()) for k, v in names.items()]))

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    @property
    def local_port(self) -> int:
        return int(self._socket.getsockname()[1])

    def log_in(self, password: str = "good") -> bool:
        """False when the connection ended before it was ready."""
        while frame := self.read():
            kind, raw = frame
            if kind == "R" and raw[5:9] == b"\0\0\0\3":
                self.send(wire.password(password.encode()))
            elif kind == "K":
                self.key = wire.parse_key_data(raw)
            elif kind == "Z":
                self.seen.clear()
                return True
        self.seen = [frame for frame in self.seen if frame[0] == "E"]
        return False

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def read(self) -> Frame | None:
        """The next frame, or None at the end. Raises TimeoutError when nothing comes."""
        while True:
            if len(self.parts) >= 5:
                end = 1 + int.from_bytes(self.parts[1:5], "big")
                if len(self.parts) >= end:
                    frame = (chr(self.parts[0]), self.parts[:end])
                    self.parts = self.parts[end:]
                    if frame[0] not in "SKN":
                        self.seen.append(frame)
                    return frame
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                self.ended = True
                return None
            self.parts += data

    def until_ready(self, times: int) -> bool:
        while times:
            frame = self.read()
            if frame is None:
                return False
            times -= frame[0] == "Z"
        return True

    def finish(self) -> None:
        """Nothing more will be sent; what comes is still read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def client(port: int, *, user: str = "executor", database: str = "crm", application: str = "") -> Iterator[Client]:
    one = Client(port, user=user, database=database, application=application)
    try:
        yield one
    finally:
        one.close()


def until(condition: Callable[[], bool], *, what: str, seconds: float = _PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.005)
