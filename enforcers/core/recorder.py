"""Carries what was done to the log: acts of all sessions, in batches, in order, none dropped for load.

A session's window (W records, T seconds unacknowledged) bounds what a killed gateway can lose of its leased acts;
beyond it the session waits. One batch is on its way at a time, which keeps the order; the next gathers meanwhile, so
the slower the log, the larger the batch. A batch that fails is sent again as it was: every act carries its session's
consecutive number, so the log can tell a repetition from a gap. Numbering: ADR 0007.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import structlog

from enforcers.core.acts import request
from enforcers.core.decision_client import DecisionClient, RecordRefusedError, is_fault
from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.metrics import METRICS, TALLY
from enforcers.core.records import ActRecord, Waiter, Window

BATCH_ACTS = 512
BATCH_BYTES = 4 << 20
LINGER = 0.025  # seconds an act waits for company, half of the shipped window: a call costs as much as fifty acts
RETRY_SECONDS = 0.25
PATIENCE = 10.0  # seconds a session waits for room before it is refused
CLOSE_PATIENCE = 8.0
SWEEP_SECONDS = 1.0  # how often those who wait are looked through for who has waited too long
BROKEN = "a record of this session was refused"
# Failures inside the service after which a batch is taken apart, and a single act given up with its session.
FAULTS_OF_MANY = 3
FAULTS_OF_ONE = 20
MAX_PENDING_ACTS = 65_536
MAX_PENDING_BYTES = 128 << 20

log = structlog.get_logger("twokey.enforcers.recorder")


class Recorder:
    """One per worker; run() must be running."""

    def __init__(self, client: DecisionClient) -> None:
        self._client = client
        self._queue: deque[ActRecord] = deque()
        self._unacknowledged = 0
        self._bytes = 0
        self._wake = asyncio.Event()  # something is queued
        self._hurry = asyncio.Event()  # send without waiting for company
        self._idle = asyncio.Event()
        self._idle.set()
        self._ample = asyncio.Event()  # below the bounds of memory
        self._ample.set()
        self._waiting: deque[ActRecord] = deque()  # those with a waiter, oldest first
        self._sweeping = False

    @property
    def pending(self) -> int:
        return self._unacknowledged

    def full(self) -> bool:
        return self._unacknowledged >= MAX_PENDING_ACTS or self._bytes >= MAX_PENDING_BYTES

    def add(self, record: ActRecord) -> None:
        """Queue a record. Never waits and never refuses: callers asked for room before."""
        record.window.pending.append(record.queued)
        queue = self._queue
        if not queue:
            self._wake.set()
            self._idle.clear()
        queue.append(record)
        self._unacknowledged += 1
        self._bytes += record.size
        if len(queue) >= BATCH_ACTS:
            self._hurry.set()

    def pace(self, window: Window, records: int, delay: float) -> None:
        """Don't wait for company where the session would soon wait for its window."""
        if len(window.pending) * 2 >= records or delay < 2 * LINGER:
            self._hurry.set()

    async def room(self, window: Window, records: int, delay: float) -> None:
        """Wait until the window has room. Raises DecisionUnavailableError when it gets none in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self.full() or not window.room(records, delay, time.monotonic()):
                    self._check(window)
                    self._hurry.set()
                    if self.full():
                        self._ample.clear()
                        await self._ample.wait()
                        continue
                    await window.change()
        except TimeoutError:
            METRICS.unavailable.inc()
            raise DecisionUnavailableError("records can't be written") from None
        self._check(window)

    def watch(self, record: ActRecord, waiter: Waiter) -> None:
        """Tell the waiter when the service has the record that was just added, or that it took too long."""
        record.waiter = waiter
        self._waiting.append(record)
        self._hurry.set()
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Who has waited too long is told so; its record is sent all the same."""
        waiting = self._waiting
        late = time.monotonic() - PATIENCE
        while waiting and (waiting[0].waiter is None or waiting[0].queued < late):
            if settle(waiting.popleft(), DecisionUnavailableError("records can't be written")):
                METRICS.unavailable.inc()
        self._sweeping = bool(waiting)
        if self._sweeping:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    async def flush(self, window: Window) -> bool:
        """Wait until everything of this session is durable; False when that took too long, or one was refused."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                while window.pending:
                    self._hurry.set()
                    await window.change()
        except TimeoutError:
            return False
        return not window.broken

    async def flush_all(self) -> bool:
        self._hurry.set()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._idle.wait()
        except TimeoutError:
            log.warning("records lost: the decision service did not take them", records=self._unacknowledged)
            return False
        return True

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            # Counted from the oldest: it may have waited already, for the batch before.
            linger = self._queue[0].queued + LINGER - time.monotonic()
            if not self._hurry.is_set() and len(self._queue) < BATCH_ACTS and linger > 0:
                try:
                    async with asyncio.timeout(linger):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
            self._hurry.clear()
            await self._deliver(self._take())
            if not self._queue:
                self._wake.clear()
                if not self._unacknowledged:
                    self._idle.set()

    def _take(self) -> list[ActRecord]:
        queue = self._queue
        batch: list[ActRecord] = []
        size = 0
        while queue and len(batch) < BATCH_ACTS and (not batch or size + queue[0].size <= BATCH_BYTES):
            entry = queue.popleft()
            entry.sent = True
            size += entry.size
            batch.append(entry)
        return batch

    async def _deliver(self, batch: list[ActRecord]) -> None:
        """Send until taken; a batch the service will never take is halved until the culprit stands alone."""
        METRICS.record_batch.observe(len(batch))
        METRICS.carry(TALLY)
        if not await self._send(batch):
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._deliver(batch[:middle])
                await self._deliver(batch[middle:])
                return
            # The gap stays visible in the log, and the session does nothing more.
            METRICS.records_refused.inc()
            batch[0].window.broken = True
        self._acknowledge(batch)

    async def _send(self, batch: list[ActRecord]) -> bool:
        """Until the service took the batch: True. False when it never will."""
        message = request(batch)  # once: what is sent again is what was sent
        patience = FAULTS_OF_MANY if len(batch) > 1 else FAULTS_OF_ONE
        while True:
            try:
                await self._client.record_acts(message)
                return True
            except RecordRefusedError as error:
                log.warning("records refused", error=str(error), records=len(batch), session=batch[0].session)
                return False
            except DecisionUnavailableError as error:
                METRICS.record_retries.inc()
                log.warning("records wait", error=str(error), records=self._unacknowledged)
                patience -= is_fault(error)
            if patience <= 0:
                return False
            await asyncio.sleep(RETRY_SECONDS)

    def _acknowledge(self, batch: list[ActRecord]) -> None:
        self._unacknowledged -= len(batch)
        for entry in batch:
            window = entry.window
            window.pending.popleft()
            entry.durable = not window.broken
            if window.changed is not None:
                window.changed.set()
            self._bytes -= entry.size
        METRICS.records_pending.set(self._unacknowledged)
        if not self.full():
            self._ample.set()
        for entry in batch:
            if entry.waiter is not None:
                settle(entry, None if entry.durable else DecisionUnavailableError(BROKEN))
        waiting = self._waiting
        while waiting and waiting[0].waiter is None:
            waiting.popleft()

    @staticmethod
    def _check(window: Window) -> None:
        if window.broken:
            raise DecisionUnavailableError(BROKEN)


def settle(record: ActRecord, error: DecisionUnavailableError | None) -> bool:
    """Tell its waiter, once. False when nobody waited any more."""
    waiter = record.waiter
    if waiter is None:
        return False
    record.waiter = None
    waiter.settled(error)
    return True
