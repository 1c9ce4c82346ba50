"""Who did what, as facts that policy compares: one row for each element of a closure, act, object and connection.

A row says when it last happened, so the table grows with the kinds of acts and not with their number. `number` grows
with every change, over the whole table, in the order of the commits (writers wait for each other at the clock's row,
ADR 6 and 27). So "nothing of this closure's has changed since policy was shown it" is one comparison in the
transaction that adds to it: of two steps at once that together would break a duty one wins, and the other is asked
about again with the first in its history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, TextClause, bindparam, delete, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError, StoreError
from decision.ports import History, PastAct
from decision.store import tables
from decision.store.database import Database

MAX_SHOWN = 20_000  # rows of one history: more is an error, never a part
MAX_NOTED = 2_000  # rows that one act adds
_MAX_AGE_S = 2**31 - 1
# Of transactions there are as many as tokens; of names as many as people. So what was done in one is forgotten.
TRANSACTION_KEPT_S = 30 * 86_400
_FORGOTTEN = 1_000  # rows at once
OPENED = "session.open"
APPROVED = "approval.approve"
CHANGED = "policy.change"

_acts = tables.closure_acts
_NUMBER = "(SELECT COALESCE(MAX(number), 0) + 1 FROM closure_acts)"
_INSERT = (
    "INSERT INTO closure_acts (element, act, object, connection, last, number)"
    " SELECT CAST(:element AS TEXT), CAST(:act AS TEXT), CAST(:object AS TEXT), CAST(:connection AS TEXT),"
    f" CAST(:now AS BIGINT), {_NUMBER} WHERE true"
    " ON CONFLICT (element, act, object, connection)"
)
_FIRST = text(f"{_INSERT} DO NOTHING")
_EACH = text(f"{_INSERT} DO UPDATE SET last = excluded.last, number = excluded.number")
# Of every session's end, so made once.
_ENDED = (
    update(_acts)
    .where(
        _acts.c.element.in_(bindparam("elements", expanding=True)),
        _acts.c.act == OPENED,
        _acts.c.object == bindparam("role"),
        _acts.c.connection == bindparam("where"),
    )
    .values(last=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Fact:
    element: str
    act: str
    object: str
    connection: str


class SqlHistory:
    """ports.HistoryStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, closure: Sequence[str], *, reviews: bool = False) -> History:
        query = select(_acts).where(_of(closure, reviews=reviews)).order_by(_acts.c.number).limit(MAX_SHOWN + 1)

        async def work(connection: AsyncConnection) -> History:
            rows = (await connection.execute(query)).all()
            if len(rows) > MAX_SHOWN:
                raise StoreError("A history is too long to be judged")
            now = self._database.clock.now_us()
            acts = (PastAct(one.element, one.act, one.object, one.connection, _age(now, one.last)) for one in rows)
            return History(rows[-1].number if rows else 0, tuple(acts))

        return await self._database.read(work)

    async def note(
        self, acts: Collection[tuple[str, str]], *, connection: str, closure: Sequence[str], seen: int
    ) -> None:
        if not closure:
            raise StateError("an act is noted for nobody", code="STATE")

        async def work(database: AsyncConnection, now: int) -> None:
            await unchanged(database, closure, seen)
            facts = [
                Fact(element, act, what, connection) for element in sorted(set(closure)) for act, what in sorted(acts)
            ]
            await note(database, facts, now)

        await self._database.write(work)

    async def policy_changed(self, closures: Sequence[Sequence[str]]) -> None:
        elements = sorted({element for closure in closures for element in closure})

        async def work(database: AsyncConnection, now: int) -> None:
            await note(database, [Fact(element, CHANGED, "policy", "") for element in elements], now)

        if elements:
            await self._database.write(work)

    async def forget(self) -> int:
        async def work(database: AsyncConnection, now: int) -> int:
            newest = select(func.max(_acts.c.number)).scalar_subquery()  # numbers never come again: it stays
            old = (
                select(_acts.c.number)
                .where(_acts.c.element.like("txn:%"), _acts.c.last < now - TRANSACTION_KEPT_S * 1_000_000)
                .where(_acts.c.number < newest)
                .limit(_FORGOTTEN)
            )
            return (await database.execute(delete(_acts).where(_acts.c.number.in_(old)))).rowcount

        return await self._database.write(work)


async def unchanged(
    connection: AsyncConnection,
    closure: Sequence[str],
    seen: int,
    *,
    reviews: bool = False,
    code: str = "HISTORY_CHANGED",
) -> None:
    """In a writing transaction. Raises StateError: something of this closure's was noted since `seen`."""
    query = select(func.coalesce(func.max(_acts.c.number), 0)).where(_of(closure, reviews=reviews))
    if (await connection.execute(query)).scalar_one() > seen:
        raise StateError("This principal has done something meanwhile", code=code)


async def note(connection: AsyncConnection, facts: Sequence[Fact], now: int) -> None:
    """Now done, whether or not they were before."""
    await _put(connection, _EACH, facts, now)


async def note_first(connection: AsyncConnection, facts: Sequence[Fact], now: int) -> None:
    """Done by now; what was done before stays as it is, and so does the version of its closure."""
    await _put(connection, _FIRST, facts, now)


async def _put(connection: AsyncConnection, statement: TextClause, facts: Sequence[Fact], now: int) -> None:
    if len(facts) > MAX_NOTED:
        raise StateError("An act that touches so much can't be noted", code="TOO_LARGE")
    rows = [
        {"element": one.element, "act": one.act, "object": one.object, "connection": one.connection, "now": now}
        for one in facts
    ]
    if rows:
        await connection.execute(statement, [{key: _clean(value) for key, value in row.items()} for row in rows])


async def ended(connection: AsyncConnection, elements: Iterable[str], role: str, where: str, now: int) -> None:
    """A session of this role has ended now. Its beginning is what the version counts."""
    which = {"elements": sorted(set(elements)), "role": role, "where": where, "now": now}
    await connection.execute(_ENDED, which)


def _of(closure: Sequence[str], *, reviews: bool) -> ColumnElement[bool]:
    mine = _acts.c.element.in_(sorted(set(closure)))
    return or_(mine, _acts.c.act == APPROVED) if reviews else mine


def _age(now: int, last: int) -> int:
    return min(max(0, (now - last) // 1_000_000), _MAX_AGE_S)


def _clean(value: object) -> object:
    """As tables.Words: these statements are text, and so pass no column's type."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
