"""Units of budgets as rows: how many acts of a kind a closure has had, and the one more that it takes.

Whether there is a unit left is policy's to say, from what it is shown here. So taking one is a compare-and-set: it
holds only where no more are taken than policy was shown. Two statements that were both shown the last free unit can't
both have it; the second is told so and policy is asked again. A unit is durable before the act that it is taken for
begins, and isn't given back when the act fails: what was learned by then is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError
from decision.model import Budget, BudgetUse
from decision.ports import Used
from decision.store import tables
from decision.store.database import Database

MAX_SHOWN = 1000  # units of one budget: the most that a limit may be (decision.policy.result)
_SECOND = 1_000_000
_KEPT = 86_400 * _SECOND  # the longest that a unit counts

_units = tables.budget_units


class SqlBudgets:
    """ports.BudgetStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def used(self, budgets: Sequence[Budget], closure: Sequence[str]) -> Sequence[Used]:
        async def work(connection: AsyncConnection) -> Sequence[Used]:
            now = self._database.clock.now_us()
            return [_shown(one, await _taken(connection, one, closure, now), now) for one in budgets]

        return await self._database.read(work)

    async def take(self, seen: Sequence[Used], closure: Sequence[str], *, unit: str) -> Sequence[BudgetUse]:
        """Also raises StateError for an empty closure: its units would count for nobody."""
        if not closure:
            raise StateError("a unit of a budget is taken for nobody", code="STATE")

        async def work(connection: AsyncConnection, now: int) -> Sequence[BudgetUse]:
            await connection.execute(delete(_units).where(_units.c.taken <= now - _KEPT))
            found: list[BudgetUse] = []
            for told in seen:
                taken = len(await _taken(connection, told.budget, closure, now))
                if taken > len(told.free_in):
                    raise StateError("the budget was used meanwhile", code="BUDGET_CHANGED")
                rows = [
                    {"unit": unit, "budget": told.budget.name, "element": element, "taken": now}
                    for element in sorted(set(closure))
                ]
                await connection.execute(insert(_units), rows)
                found.append(BudgetUse(told.budget, taken + 1))
            return found

        return await self._database.write(work)


async def _taken(connection: AsyncConnection, budget: Budget, closure: Sequence[str], now: int) -> list[int]:
    """When each unit that counts was taken, the oldest first."""
    query = (
        select(_units.c.unit, _units.c.taken)
        .where(
            _units.c.budget == budget.name,
            _units.c.element.in_(sorted(set(closure))),
            _units.c.taken > now - budget.seconds * _SECOND,
        )
        .distinct()
        .order_by(_units.c.taken.desc())
        .limit(MAX_SHOWN)
    )
    return [row.taken for row in reversed((await connection.execute(query)).all())]


def _shown(budget: Budget, taken: Sequence[int], now: int) -> Used:
    waits = (one + budget.seconds * _SECOND - now for one in taken)
    return Used(budget, tuple(max(1, -(-wait // _SECOND)) for wait in waits))
