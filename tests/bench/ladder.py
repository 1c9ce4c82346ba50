"""The ladder's cells: one load on every rung in turn, round by round, so that a machine that drifts drifts for all.

A ratio is against direct in the same round; what is shown is the median of the rounds. CPU is what the rung's own
processes used, user and system, by statement (by row for bulk), beside the rate: rates on a busy machine mean little,
CPU a little more.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.bench import machine
from tests.bench.load import Bulk, Done, Pgbench, Target
from tests.bench.world import BOUNCER, DIRECT, DURABLE, MASKED, POLICY, RELAY, RUNGS, TPCB, WIDE, World

SELECT_FLOOR = 0.25
WRITE_FLOOR = 0.4
BULK_FLOOR = 0.7
MASKED_CELLS = (("one", "one", 0.5, 0.7), ("four", "four", 0.35, 0.5))  # masked of eight columns; floor, goal
GOALS = {
    ("simple", 1): 0.30,
    ("simple", 8): 0.40,
    ("prepared", 1): 0.30,
    ("prepared", 8): 0.50,
}
CLIENTS = (1, 8, 32)
WARM_S = 3  # on a busy machine 32 clients need a while to connect, and pgbench counts that


@dataclass(frozen=True, slots=True)
class Cell:
    name: str
    group: str
    load: Callable[[Target, int], Done]
    unit: str
    role: str = "planner"
    database: str = "company"
    rungs: tuple[str, ...] = tuple(rung for rung in RUNGS if rung != DURABLE)
    floor: float | None = None  # of the rung `judged`
    goal: float | None = None
    judged: str = POLICY


@dataclass
class Figure:
    """One cell on one rung: what each round gave."""

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        return {
            "rate": round(statistics.median(self.rates), 1),
            "ratio": round(statistics.median(self.ratios), 3),
            "ratios": [round(one, 3) for one in self.ratios],
            "cpu_us": {name: round(statistics.median(values), 2) for name, values in self.cpu_us.items()},
        }


def cells(world: World) -> list[Cell]:
    """All of them, in the order they are measured."""
    database = world.stack.database
    every = [
        Cell(
            f"pgbench -S {protocol} c{clients}",
            "select",
            Pgbench(database.pgbench, protocol, clients),
            "tps",
            floor=SELECT_FLOOR,
            goal=GOALS.get((protocol, clients)),
        )
        for protocol in ("simple", "prepared")
        for clients in CLIENTS
    ]
    every += [
        Cell(
            f"pgbench read-write c{clients}",
            "write",
            Pgbench(database.pgbench, "simple", clients, select_only=False),
            "tps",
            role="executor",
            database=TPCB,
            rungs=(DIRECT, BOUNCER, RELAY, DURABLE, POLICY),
            floor=None if clients == 1 else WRITE_FLOOR,
        )
        for clients in CLIENTS
    ]
    columns = "SELECT id, name, email, city FROM bulk"
    every += [
        Cell(name, "bulk", Bulk(database.psql, statement, world.rows), "rows/s", floor=BULK_FLOOR, goal=0.85)
        for name, statement in (
            (f"SELECT of {world.rows:,} rows", columns),
            (f"COPY of {world.rows:,} rows", copy(columns)),
        )
    ]
    every += [
        Cell(
            f"{name} of {world.rows:,} rows, {number} of eight columns masked",
            "masked",
            Bulk(database.psql, statement, world.rows),
            "rows/s",
            rungs=(DIRECT, RELAY, POLICY, MASKED),
            floor=floor,
            goal=goal,
            judged=MASKED,
        )
        for number, table, floor, goal in MASKED_CELLS
        for name, statement in (
            ("SELECT", f"SELECT {WIDE} FROM wide_{table}"),
            ("COPY", copy(f"SELECT {WIDE} FROM wide_{table}")),
        )
    ]
    return every


def copy(columns: str) -> str:
    return f"COPY ({columns}) TO STDOUT"


def measure(
    world: World, cell: Cell, *, seconds: int, rounds: int, rungs: tuple[str, ...] = RUNGS
) -> dict[str, object]:
    figures: dict[str, Figure] = {}
    missing = dict(world.without)
    usable = [rung for rung in world.rungs(cell.rungs) if rung in rungs or rung == cell.judged]
    targets = {rung: world.target(rung, cell.role, cell.database) for rung in usable}
    for rung in list(targets):
        with giving_up(rung, targets, missing):
            cell.load(targets[rung], WARM_S)  # warm: leases, caches, the target's own
    for _ in range(rounds):
        direct = 0.0
        for rung in list(targets):
            with giving_up(rung, targets, missing):
                done, cpu = _once(world, cell, rung, targets[rung], seconds)
                direct = done.rate if rung == DIRECT else direct
                figure = figures.setdefault(rung, Figure())
                figure.rates.append(done.rate)
                figure.ratios.append(done.rate / direct)
                for name, used in cpu.items():
                    figure.cpu_us.setdefault(name, []).append(used / done.statements * 1e6)
    row: dict[str, object] = {
        "cell": cell.name,
        "group": cell.group,
        "unit": cell.unit,
        "rungs": {rung: figure.document() for rung, figure in figures.items() if rung not in missing},
        "missing": {rung: why for rung, why in missing.items() if rung in cell.rungs},
    }
    if cell.floor is not None:
        row["floor"] = cell.floor
        row["ratio"] = 0.0 if cell.judged in missing else figures[cell.judged].document()["ratio"]
    if cell.goal is not None:
        row["goal"] = cell.goal
    return row


@contextmanager
def giving_up(rung: str, targets: dict[str, Target], missing: dict[str, str]) -> Iterator[None]:
    """A rung that fails is not measured further in this cell, which says why; without direct there is no cell."""
    try:
        yield
    except RuntimeError as error:
        if rung == DIRECT:
            raise
        missing[rung] = str(error).strip().splitlines()[0][:200]
        del targets[rung]


def _once(world: World, cell: Cell, rung: str, target: Target, seconds: int) -> tuple[Done, dict[str, float]]:
    processes = world.processes(rung)
    before = {name: machine.cpu_s(pids) for name, pids in processes.items()}
    done = cell.load(target, seconds)
    return done, {name: machine.cpu_s(pids) - before[name] for name, pids in processes.items()}


__all__ = ["BOUNCER", "DIRECT", "MASKED", "POLICY", "RELAY", "RUNGS", "Cell", "cells", "measure"]
