"""What one decision, one connection and many sessions cost."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Sequence

import asyncpg

from tests.bench import machine
from tests.bench.load import Target
from tests.bench.world import DIRECT, EXECUTORS, POLICY, World

MISS_MS = 3.0
CONNECT_MS = 10.0
IDLE_MIB = 150.0
HELD_CPU_MS = 0.05  # a held session's, each second: what a socket costs, and a heartbeat
HELD_KIB = 100.0
AT_ONCE = 16
SETTLE_S = 2.0
HOLDING_S = 120.0


async def _timed(connection: asyncpg.Connection, statement: str) -> float:
    started = time.perf_counter()
    await connection.execute(statement)
    return (time.perf_counter() - started) * 1000


async def misses(world: World, count: int) -> dict[str, object]:
    """Statements whose shape nobody has seen: each alias is new, so each is described, asked and recorded anew."""
    a, b = await world.target(DIRECT).connect(), await world.target(POLICY).connect()
    try:
        pairs = []
        for number in range(count):
            statement = (
                f"SELECT abalance AS fresh_{os.getpid()}_{number} FROM pgbench_accounts WHERE aid = {number + 1}"
            )
            pairs.append((await _timed(a, statement), await _timed(b, statement)))
    finally:
        await a.close()
        await b.close()
    added = sorted(through - without for without, through in pairs)
    return {
        "cell": "decision that misses every lease, added ms",
        "group": "misses",
        "median_ms": round(statistics.median(added), 2),
        "p95_ms": round(added[int(len(added) * 0.95)], 2),
        "ceiling": MISS_MS,
    }


async def connects(world: World, count: int) -> dict[str, object]:
    """Connect, log in, and close; each target in turn."""
    times: list[tuple[float, float]] = []
    for _ in range(count):
        pair = []
        for rung in (DIRECT, POLICY):
            started = time.perf_counter()
            connection = await world.target(rung).connect()
            pair.append((time.perf_counter() - started) * 1000)
            await connection.close()
        times.append((pair[0], pair[1]))
    direct, through = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "cell": "connect and log in, added ms",
        "group": "connects",
        "direct_ms": round(direct, 2),
        "gateway_ms": round(through, 2),
        "median_ms": round(statistics.median(b - a for a, b in times), 2),
        "ceiling": CONNECT_MS,
    }


async def idle(world: World, count: int) -> dict[str, object]:
    """The gateway's memory with so many sessions that do nothing, all of one agent."""
    gateway = world.own()["gateway"]
    before, begun = machine.memory_mib(gateway), time.perf_counter()
    opened = await _open([world.target(POLICY)] * count)
    try:
        took = time.perf_counter() - begun
        await asyncio.sleep(SETTLE_S)
        after, cpu = machine.memory_mib(gateway), machine.cpu_s(gateway)
        await asyncio.sleep(SETTLE_S)
        used = machine.cpu_s(gateway) - cpu
    finally:
        await _close(opened)
    return {
        "cell": f"{count:,} idle sessions, MiB of the gateway",
        "group": "idle",
        "sessions": count,
        "before_mib": round(before, 1),
        "value": round(after, 1),
        "kib_each": round((after - before) * 1024 / count, 1),
        "cpu_ms_a_second": round(used / SETTLE_S * 1000, 1),
        "opened_in_s": round(took, 1),
        "ceiling": IDLE_MIB,
    }


async def held(world: World, count: int) -> dict[str, object]:
    """The gateway's memory and CPU while so many statements wait for a person."""
    host, port = world.stack.address("held")
    targets = [
        Target(host, port, "executor", world.stack.token(name, "executor"), "held")
        for name in (EXECUTORS[number % len(EXECUTORS)] for number in range(count))
    ]
    gateway = world.own()["gateway"]
    opened = await _open(targets)
    before = machine.memory_mib(gateway)
    waiting: list[asyncio.Future[object]] = []
    try:
        for number, connection in enumerate(opened):
            told = asyncio.Event()
            connection.add_log_listener(lambda _connection, _notice, told=told: told.set())
            statement = f"DELETE FROM orders WHERE id = {100_000 + number}"
            waiting.append(asyncio.ensure_future(connection.execute(statement)))
            await asyncio.wait_for(told.wait(), HOLDING_S)  # a burst of questions is not what is measured
        await _until_held(world, waiting)
        await asyncio.sleep(SETTLE_S)
        after, cpu = machine.memory_mib(gateway), machine.cpu_s(gateway)
        await asyncio.sleep(2 * SETTLE_S)
        used = (machine.cpu_s(gateway) - cpu) / (2 * SETTLE_S)
    finally:
        for connection in opened:
            connection.terminate()
        await asyncio.gather(*waiting, return_exceptions=True)
    each = round(used * 1000 / count, 3)
    return {
        "cell": f"{count} held sessions, the gateway's ms of CPU a second each",
        "group": "held",
        "sessions": count,
        "kib_each": round((after - before) * 1024 / count, 1),
        "kib_ceiling": HELD_KIB,
        "cpu_ms_a_second": round(used * 1000, 1),
        "value": each,
        "ceiling": HELD_CPU_MS,
    }


async def _until_held(world: World, waiting: Sequence[asyncio.Future[object]]) -> None:
    token = world.stack.token("bob", "reviewer")
    deadline = time.monotonic() + HOLDING_S
    count, pending = len(waiting), []
    while time.monotonic() < deadline:
        ended = [future for future in waiting if future.done()]
        if ended:
            raise RuntimeError(f"{len(ended)} of {count} statements were not held: {ended[0].exception()!r}")
        done = await asyncio.to_thread(world.stack.twokey, "approvals", "list", "--json", token=token)
        pending = [json.loads(line) for line in done.stdout.splitlines()]
        if sum(one["connection"] == "held" for one in pending) >= count:
            return
        await asyncio.sleep(0.5)
    raise RuntimeError(f"{len(pending)} of {count} statements were held in {HOLDING_S:g} s")


async def _open(targets: list[Target]) -> list[asyncpg.Connection]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(target: Target) -> asyncpg.Connection:
        async with gate:
            return await target.connect()

    return list(await asyncio.gather(*map(one, targets)))


async def _close(opened: list[asyncpg.Connection]) -> None:
    await asyncio.gather(*(connection.close() for connection in opened))


__all__ = ["connects", "held", "idle", "misses"]
