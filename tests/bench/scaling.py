"""Two workers against one, on the same cores.

Two workers can only be faster where one leaves a core unused: the load generator, the target and the decision service
run on the same cores. So beside the factor stands the room: what all cores together could do at the CPU a statement
costs with one worker, over what one worker does. Where there is no room for the bound, the bound is 0.85 of the room.
"""

from __future__ import annotations

import os
import statistics

from tests.bench import machine
from tests.bench.ladder import WARM_S, Cell
from tests.bench.world import POLICY, World

SCALING = 1.5
OF_ROOM = 0.85


def measure(world: World, cell: Cell, *, seconds: int, rounds: int) -> dict[str, object]:
    rates: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    rooms: list[float] = []
    for _ in range(rounds):
        for workers in (1, 2):
            world.restart(workers)
            target = world.target(POLICY, cell.role, cell.database)
            cell.load(target, WARM_S)
            gateway = world.own()["gateway"]
            used, busy = machine.cpu_s(gateway), machine.machine_busy_s()
            done = cell.load(target, seconds)
            used, busy = machine.cpu_s(gateway) - used, machine.machine_busy_s() - busy
            rates[workers].append(done.rate)
            cpu[workers].append(used / done.statements * 1e6)
            if workers == 1:
                rooms.append((os.cpu_count() or 1) * done.statements / busy / done.rate)
    factor = statistics.median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    room = statistics.median(rooms)
    return {
        "cell": f"two workers over one, {cell.name}",
        "group": "workers",
        "one": round(statistics.median(rates[1]), 1),
        "two": round(statistics.median(rates[2]), 1),
        "one_cpu_us": round(statistics.median(cpu[1]), 2),
        "two_cpu_us": round(statistics.median(cpu[2]), 2),
        # Where each worker has a core that nobody else wants, two do twice as much at what a statement costs then.
        "with_free_cores": round(2 * statistics.median(cpu[1]) / statistics.median(cpu[2]), 2),
        "room": round(room, 2),
        "ratio": round(factor, 2),
        "floor": round(min(SCALING, OF_ROOM * room), 2),
    }
