"""Listens for revocations and the live policy revision; its silence ends leases, a revocation ends sessions.

The service says something at least once a second. After 3 s without a word no lease is served (LeaseTable checks
that on every use, also when this task could not run); they are served again once it speaks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from cachetools import LRUCache
from twokey.decision.v1 import decision_pb2

from enforcers.core.decision_client import DecisionClient
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.leases import SILENCE, LeaseTable
from enforcers.core.metrics import METRICS

RETRY_SECONDS = 0.2
_REMEMBERED = 4096  # revoked sessions whose opening may still be on its way

OnRevoked = Callable[[str], None]
ClassifiedColumns = frozenset[tuple[str, str, str]]  # schema, relation, column
OnClassified = Callable[[str, ClassifiedColumns], None]

log = structlog.get_logger("twokey.enforcers.revocations")


class Revocations:
    """The stream's reader, and the register of sessions to cut. One per worker."""

    def __init__(self, client: DecisionClient, leases: LeaseTable, *, enforcer: str) -> None:
        self._client = client
        self._leases = leases
        self._enforcer = enforcer
        self._sessions: dict[str, OnRevoked] = {}
        self._revoked: LRUCache[str, str] = LRUCache(_REMEMBERED)
        self._heard = time.monotonic()
        self._first = asyncio.Event()
        self._listening = False
        self._newest = 0  # highest sequence of this stream
        self._classified: dict[str, ClassifiedColumns] = {}  # by connection
        self._on_classified: OnClassified | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (DecisionUnavailableError, TimeoutError) as error:
                if self._listening:
                    log.warning("revocation stream lost", error=str(error) or "silent")
                    METRICS.stream_lost.inc()
            self._listening = False
            self._leases.lost()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        self._newest = 0
        stream = self._client.watch_revocations(decision_pb2.WatchRevocationsRequest(enforcer=self._enforcer))
        try:
            while True:
                async with asyncio.timeout(SILENCE):
                    message = await anext(stream)
                self._take(message)
        finally:
            await stream.aclose()

    def _take(self, message: decision_pb2.WatchRevocationsResponse) -> None:
        if not message.revision:
            raise DecisionUnavailableError("WatchRevocations: no revision")
        self._heard = time.monotonic()
        self._listening = True
        if message.revoked_sessions:
            # First the leases: a callback must not find one still served.
            self._leases.clear()
        # What was revoked while we were away is told again under its old number, and its old revision.
        current = message.sequence >= self._newest
        self._newest = max(self._newest, message.sequence)
        self._leases.heard(message.revision if current else self._leases.revision)
        if message.HasField("classified"):
            self._take_classified(message.classified)
        else:
            self._first.set()
        for session in message.revoked_sessions:
            self._revoked[session] = message.reason
            cut = self._sessions.pop(session, None)
            if cut is not None:
                cut(message.reason)

    def _take_classified(self, told: decision_pb2.ClassifiedColumns) -> None:
        columns = frozenset((item.schema, item.relation, item.column) for item in told.columns)
        if self._classified.get(told.connection) == columns:
            return
        self._classified[told.connection] = columns
        if self._on_classified is not None:
            self._on_classified(told.connection, columns)

    def on_classified(self, callback: OnClassified) -> None:
        """Called with every connection's classified columns, those known by now at once, and each time they change."""
        self._on_classified = callback
        for connection, columns in self._classified.items():
            callback(connection, columns)

    async def ready(self, seconds: float) -> bool:
        """Wait until the service was heard once; it tells what is classified before all else."""
        try:
            async with asyncio.timeout(seconds):
                await self._first.wait()
        except TimeoutError:
            return False
        return True

    def register(self, session: str, on_revoked: OnRevoked) -> str | None:
        """Cut this session when it is revoked. The reason, when that came before its opening did."""
        if session in self._revoked:
            return self._revoked[session]
        self._sessions[session] = on_revoked
        return None

    def forget(self, session: str) -> None:
        self._sessions.pop(session, None)

    def silent_for(self) -> float:
        """Seconds since the service was last heard."""
        return time.monotonic() - self._heard
