"""Memory of the gateway while a masked result streams: what it needs over an idle one, whatever the result's size."""

from __future__ import annotations

from tests.bench import machine
from tests.bench.ladder import Cell
from tests.bench.world import MASKED, World

CEILING_MIB = 64


def memory(world: World, cell: Cell) -> dict[str, object]:
    """After a first statement of the same kind, which loads what any session needs."""
    target = world.target(MASKED, cell.role, cell.database)
    cell.load(target, 0)
    gateway = world.own()["gateway"]
    machine.forget_peak(gateway)
    idle = machine.peak_mib(gateway)
    cell.load(target, 0)
    return {
        "cell": f"gateway's memory: {cell.name}",
        "group": "masked",
        "idle_mib": round(idle, 1),
        "value": round(machine.peak_mib(gateway) - idle, 1),
        "unit": "MiB over idle",
        "ceiling": CEILING_MIB,
    }
