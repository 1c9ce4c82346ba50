"""`make bench`: what the gateway costs, as a ladder of ratios against the same server without it, in one run.

    python -m tests.bench.run [--seconds 5] [--rounds 3] [--workers 1] [--cells TEXT] [--quick] [--write] [--json FILE]

Every rung takes its turn in every round, so that a machine whose speed drifts drifts for all; each figure is the median
of the rounds, each ratio is against direct in the same round. Ends with status 1 when a figure is outside its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import describing, ladder, machine, previews, report, scaling, sessions, streaming, verdicts
from tests.bench.world import DIRECT, POLICY, RELAY, ROOT, RUNGS, World

DOCUMENT = ROOT / "docs" / "benchmarks.md"
GROUPS = (
    "select",
    "write",
    "bulk",
    "masked",
    "misses",
    "describe",
    "connects",
    "idle",
    "held",
    "verdict",
    "preview",
    "workers",
)
WAITING = "pgbench read-write c1"
SCALED = ("pgbench -S simple c8", "pgbench -S prepared c8", "pgbench -S prepared c32")


def say(text: str, *, error: bool = False) -> None:
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    parser.add_argument("--rounds", type=int, default=3, help="of each cell; a figure is their median")
    parser.add_argument("--workers", type=int, default=1, help="processes of the gateway on its one port")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--write", action="store_true", help=f"write the result into {DOCUMENT.relative_to(ROOT)}")
    parser.add_argument(
        "--quick", action="store_true", help="one round of 3 seconds, small tables, the main rungs only"
    )
    parser.add_argument(
        "--cells",
        default="",
        metavar="TEXT[,TEXT]",
        help=f"only groups or cells that contain one of these; the groups are {', '.join(GROUPS)}",
    )
    parser.add_argument("--rungs", default=",".join(RUNGS), help="only these rungs; direct and policy are always there")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.rounds = 3, 1
    return options


def wanted(options: argparse.Namespace, group: str, name: str = "") -> bool:
    asked = [part.strip() for part in options.cells.split(",") if part.strip()]
    return not asked or any(part == group or (name and part in name) for part in asked)


def any_wanted(options: argparse.Namespace, group: str, cells: Sequence[ladder.Cell]) -> bool:
    return any(cell.group == group and wanted(options, group, cell.name) for cell in cells)


def measure(world: World, options: argparse.Namespace, sync_ms: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []

    def add(row: dict[str, object]) -> None:
        rows.append(row)
        say(report.line(row))
        if "rungs" in row:
            say(report.rungs_line(row))

    cells = ladder.cells(world)
    rungs = (DIRECT, RELAY, POLICY) if options.quick else tuple({DIRECT, POLICY, *options.rungs.split(",")})
    world.prepare_select()
    world.prepare_bulk()
    # Empty where they aren't read: the classification names their columns, and they must be there.
    world.prepare_masked(world.rows if any_wanted(options, "masked", cells) else 0)
    world.check()
    if any_wanted(options, "write", cells):
        world.prepare_write()
    for cell in cells:
        if wanted(options, cell.group, cell.name):
            row = ladder.measure(world, cell, seconds=options.seconds, rounds=options.rounds, rungs=rungs)
            # What one writer waits for: four intents on the disk in each transaction.
            add({**row, "sync_ms": round(sync_ms, 2)} if cell.name == WAITING else row)
    for cell in cells:
        if cell.group == "masked" and wanted(options, cell.group, cell.name):
            add(streaming.memory(world, cell))
    if wanted(options, "misses"):
        add(asyncio.run(sessions.misses(world, 50 if options.quick else 200)))
    if wanted(options, "describe"):
        for row in describing.measure(world, 20 if options.quick else 100):
            add(row)
    if wanted(options, "connects"):
        add(asyncio.run(sessions.connects(world, 10 if options.quick else 40)))
    if wanted(options, "held"):
        add(asyncio.run(sessions.held(world, 50 if options.quick else 500)))
    if wanted(options, "verdict"):
        add(asyncio.run(verdicts.measure(world, 10 if options.quick else 50)))
    if wanted(options, "preview"):
        add(previews.measure(world, 3 if options.quick else 10))
    if wanted(options, "idle"):
        world.restart(options.workers)  # the memory of a gateway that did nothing else before
        add(asyncio.run(sessions.idle(world, 100 if options.quick else 1000)))
    for cell in cells if not options.quick else ():
        if cell.name in SCALED and wanted(options, "workers"):
            add(scaling.measure(world, cell, seconds=options.seconds, rounds=options.rounds))
    return rows


def main() -> int:
    options = parse(sys.argv[1:])
    described, begun = machine.described(), datetime.now(UTC)
    say(described)
    with World(
        workers=options.workers,
        rows=50_000 if options.quick else 500_000,
        tpcb_scale=8 if options.quick else 32,
    ) as world:
        sync_ms = machine.sync_ms(world.stack.folder)
        say(f"the log's disk syncs 256 bytes in {sync_ms:.2f} ms at the median")
        rows = measure(world, options, sync_ms)
        version = world.stack.database.version
    if options.json:
        report.dump(options.json, rows)
    failures = report.missed(rows)
    if options.write:
        text = report.markdown(
            rows,
            heading=f"### {begun:%Y-%m-%d}, PostgreSQL {version}",
            command=shlex.join(["python", "-m", "tests.bench.run", *sys.argv[1:]]),
            machine=described,
            sync_ms=sync_ms,
        )
        report.write(DOCUMENT, text)
        say(f"written into {DOCUMENT.relative_to(ROOT)}")
    for text in failures:
        say(f"outside its bound: {text}", error=True)
    for text in report.behind_goal(rows):
        say(f"behind the goal: {text}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
