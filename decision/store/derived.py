"""Labels that columns inherit before a person commits them: what CREATE TABLE AS makes of classified columns (ADR 23).

A label is durable before the act that makes its column is allowed. One column has one label: a second one would need a
person to say which masker counts, so it is refused here and the act is not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError
from decision.ports import DerivedLabel
from decision.store import tables
from decision.store.database import Database

MAX_LABELS = 10_000  # of all connections: each is part of the policy

_labels = tables.derived_labels


class SqlDerived:
    """ports.DerivedStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def shared(self) -> bool:
        return self._database.bus.shared

    async def read(self) -> Mapping[str, Mapping[str, str]]:
        async def work(connection: AsyncConnection) -> Mapping[str, Mapping[str, str]]:
            found: dict[str, dict[str, str]] = {}
            for row in (await connection.execute(select(_labels))).all():
                found.setdefault(row.connection, {})[row.name] = row.label
            return found

        return await self._database.read(work)

    async def count(self) -> int:
        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(select(func.count()).select_from(_labels))).scalar_one())

        return await self._database.read(work)

    async def add(self, labels: Sequence[DerivedLabel]) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            for one in labels:
                at = select(_labels.c.label).where(_labels.c.connection == one.connection, _labels.c.name == one.name)
                known = (await connection.execute(at)).scalar_one_or_none()
                if known not in {None, one.label}:
                    raise StateError("the column has another derived label already", code="STATE")
                if known is None:
                    row = {"connection": one.connection, "name": one.name, "label": one.label, "made": now}
                    await connection.execute(insert(_labels), [row])
            total = (await connection.execute(select(func.count()).select_from(_labels))).scalar_one()
            if total > MAX_LABELS:
                raise StateError("too many labels are derived; commit them to the classification file", code="STATE")

        await self._database.write(work)
