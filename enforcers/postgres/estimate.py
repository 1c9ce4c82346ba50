"""How many rows a statement would return or touch, as the target's own planner sees it.

EXPLAIN plans, and planning may run functions that are not volatile; so only statements whose every function is on the
safe list are asked about (Description.can_estimate), in BEGIN READ ONLY, with the active role's own account, the
session's search_path and a statement_timeout. The statement is prepared and its values are given to EXPLAIN EXECUTE as
quoted constants, so that it is planned for them. Whatever goes wrong makes the estimate unknown; why never holds one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from twokey.type.v1 import operation_pb2

from enforcers.core.errors import CredentialError, UpstreamError
from enforcers.postgres.binary_values import text_of
from enforcers.postgres.description import Description, SessionNames

Connect = Callable[[str], Awaitable[asyncpg.Connection]]

TIMEOUT_SECONDS = 2.0
MAX_STATEMENT = 1 << 20
_POOL = 4
_KEEP_SECONDS = 30.0
_READ = frozenset({"sql.select"})


@dataclass(frozen=True, slots=True)
class Estimated:
    """rows None: unknown, and why."""

    rows: float | None
    cost: float = 0.0
    why: str = ""


class Estimator:
    """Asks one target. connect(role) opens a connection with that role's account. A small pool a role."""

    def __init__(self, connect: Connect, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._clock = clock
        self._idle: dict[str, list[tuple[float, asyncpg.Connection]]] = {}
        self._limit = asyncio.Semaphore(_POOL)

    async def estimate(
        self,
        description: Description,
        names: SessionNames,
        *,
        role: str,
        values: Sequence[operation_pb2.BoundValue] = (),
    ) -> Estimated:
        """Never raises for what the target does."""
        if description.known_rows is not None:
            return Estimated(float(description.known_rows))
        if not description.can_estimate:
            return Estimated(None, why=description.cannot_estimate_why or "not estimated")
        if len(description.text) > MAX_STATEMENT:
            return Estimated(None, why="the statement is too long to be estimated")
        if any(schema.startswith("pg_temp_") for schema in names.search_path):
            return Estimated(None, why="the session has temporary objects")
        literals = [_literal(value) for value in values]
        if any(literal is None for literal in literals):
            return Estimated(None, why="a value in a binary format that is not read here")
        given = [literal for literal in literals if literal is not None]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS + 1), self._limit:
                return await self._ask(description, names, role, given)
        except TimeoutError:
            return Estimated(None, why="the planner did not answer in time")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            return Estimated(
                None, why=f"the target refused to plan it ({getattr(error, 'sqlstate', None) or 'client'})"
            )
        except (OSError, UpstreamError, CredentialError):
            return Estimated(None, why="the target can't be reached")
        except ValueError:
            return Estimated(None, why="the planner's answer could not be read")

    async def close(self) -> None:
        for connections in self._idle.values():
            for _, connection in connections:
                connection.terminate()
        self._idle.clear()

    async def _take(self, role: str) -> asyncpg.Connection:
        idle = self._idle.setdefault(role, [])
        while idle:
            since, connection = idle.pop()
            if not connection.is_closed() and self._clock() - since < _KEEP_SECONDS:
                return connection
            connection.terminate()
        return await self._connect(role)

    async def _ask(
        self,
        description: Description,
        names: SessionNames,
        role: str,
        values: Sequence[str],
    ) -> Estimated:
        connection = await self._take(role)
        healthy = False
        try:
            answer = await self._explain(connection, description, names, values)
            healthy = True
            return answer
        except asyncpg.PostgresError:
            healthy = not connection.is_closed()
            raise
        finally:
            if healthy and not connection.is_in_transaction():
                self._idle.setdefault(role, []).append((self._clock(), connection))
            else:
                connection.terminate()

    async def _explain(
        self,
        connection: asyncpg.Connection,
        description: Description,
        names: SessionNames,
        values: Sequence[str],
    ) -> Estimated:
        path = ",".join('"' + schema.replace('"', '""') + '"' for schema in names.search_path)
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        try:
            await connection.execute(
                "SELECT pg_catalog.set_config('search_path',$1,true),"
                "pg_catalog.set_config('statement_timeout',$2,true)",
                path,
                str(int(TIMEOUT_SECONDS * 1000)),
            )
            if names.effective_role and names.effective_role != await connection.fetchval(
                "SELECT current_user::pg_catalog.text"
            ):
                await connection.execute("SELECT pg_catalog.set_config('role',$1,true)", names.effective_role)
            plan = await self._plan(connection, description, values)
        finally:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await transaction.rollback()
        return read_plan(plan, description)

    async def _plan(self, connection: asyncpg.Connection, description: Description, values: Sequence[str]) -> Any:
        text = description.text.decode().rstrip().rstrip(";")
        if not values and not description.parameters:
            return await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}")
        if len(values) < description.parameters:
            raise ValueError("parameters without values")
        name = "twokey_estimate"
        await connection.execute(f"PREPARE {name} AS {text}")
        try:
            call = f"EXECUTE {name}({','.join(values)})" if values else f"EXECUTE {name}"
            return await connection.fetchval(f"EXPLAIN (FORMAT JSON) {call}")
        finally:
            with suppress(asyncpg.PostgresError):
                await connection.execute(f"DEALLOCATE {name}")


def _literal(value: operation_pb2.BoundValue) -> str | None:
    """A string constant that means itself under any setting; None for a binary form of a type not known here."""
    if value.is_null:
        return "NULL"
    if value.binary:
        text = text_of(value.type_oid, value.value)
    else:
        try:
            text = value.value.decode()
        except UnicodeDecodeError:
            return None
    if text is None:
        return None
    if "\x00" in text:
        return None
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"


def read_plan(plan: Any, description: Description) -> Estimated:
    """The rows of the top node; of a change, those of what feeds it."""
    document: Any = orjson.loads(plan) if isinstance(plan, str | bytes) else plan
    top = document[0].get("Plan") if isinstance(document, list) and document else None
    if not isinstance(top, Mapping):
        raise ValueError("not a plan")  # noqa: TRY004 - what is wrong is the target's answer, not a caller's type
    rows = max(_touched(top), default=0.0) if set(description.template.verbs) - _READ else _rows(top)
    if description.collects:
        rows = max(rows, *_gathered(top), 0.0)
    return Estimated(rows, float(top.get("Total Cost", 0.0)))


def _rows(node: Mapping[str, Any]) -> float:
    return float(node.get("Plan Rows", 0.0))


def _touched(node: Mapping[str, Any]) -> list[float]:
    """For every node that changes rows, how many come into it; for the top, how many come out."""
    found = [_rows(node)]
    todo = [node]
    while todo:
        current = todo.pop()
        children = [child for child in current.get("Plans", []) if isinstance(child, Mapping)]
        if current.get("Node Type") in {"ModifyTable", "LockRows"}:
            members = [_rows(child) for child in children if child.get("Parent Relationship") != "InitPlan"]
            found.append(sum(members))
        todo.extend(children)
    return found


def _gathered(top: Mapping[str, Any]) -> list[float]:
    """How many rows come into each node that may make one value of many: aggregates, and subqueries of the SELECT."""
    found: list[float] = []
    todo = [top]
    while todo:
        current = todo.pop()
        for child in current.get("Plans", []):
            if isinstance(child, Mapping):
                todo.append(child)
                below = child.get("Parent Relationship") in {"InitPlan", "SubPlan"}
                if below or current.get("Node Type") in {"Aggregate", "WindowAgg"}:
                    found.append(_rows(child))
    return found
