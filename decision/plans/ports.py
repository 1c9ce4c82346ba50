"""What plans need of the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from decision.plans.model import Execution, Plan

Move: TypeAlias = Callable[[Execution, datetime], Execution]
RecordMove: TypeAlias = Callable[[Execution], Awaitable[None]]


class PlanStore(Protocol):
    """Durable plans and their executions. Every method may raise StoreError. A move is one transaction: the execution
    as it is then, and the store's time, go in; what comes out is what it is from now on, unless it is the very same.
    `record` is awaited before the commit; what it raises undoes the move."""

    async def add(self, plan: Plan) -> None:
        """Raises StateError PLAN_LIMIT where there are too many."""

    async def get(self, plan: str) -> Plan | None: ...

    async def of_approval(self, approval: str) -> Plan | None: ...

    async def list(self) -> Sequence[Plan]:
        """The newest first, a bounded number of them."""

    async def start(self, plan: Plan, execution: Execution, *, record: RecordMove) -> Execution:
        """Redeems the plan's approval, where it has one, and begins its only execution. Raises StateError PLAN_STARTED,
        or as ApprovalStore.redeem."""

    async def execution(self, execution: str) -> Execution | None: ...

    async def move(self, execution: str, move: Move, *, record: RecordMove | None = None) -> Execution:
        """Raises StateError NOT_FOUND, or what `move` raises; then nothing has changed."""

    async def running(self) -> Sequence[Execution]:
        """Those that have not ended."""

    async def gone(self, sessions: Sequence[str]) -> frozenset[str]:
        """Those of `sessions` that ended so long ago that nothing more is heard of what they did."""
