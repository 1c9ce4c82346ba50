"""Ground truth: what the target says, compared with what was described, in the transaction of the act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from enforcers.core.ports import MaskedColumn, Ruling
from enforcers.postgres.description import Description, Verification
from tests.enforcers.postgres.conftest import Gatewayed, Postgres
from tests.enforcers.postgres.fakes import ALLOW, APPROVED, ScriptedDescriber, ScriptedGate, with_duties

Start = Callable[..., "object"]
TRUE = "SELECT 'as it was'::pg_catalog.text"
UPDATE = "UPDATE t SET n = n + 1000 WHERE id = 1"
SWAPPED = "SELECT name, email FROM t WHERE id = 1"
MASK_EMAIL = with_duties(
    ALLOW, mask=(MaskedColumn(schema="public", relation="t", column="email", label="pii", masker="null"),)
)


def verifying(sql: str, verification: Verification) -> ScriptedDescriber:
    """A describer that expects these rows of the statement's verification."""
    describer = ScriptedDescriber()

    def expect(description: Description) -> Description:
        return replace(description, verification=verification)

    describer.overrides[sql] = expect
    return describer


def gate_of(ruling: Ruling) -> Callable[[], ScriptedGate]:
    return lambda: ScriptedGate(lambda _text: ruling)


async def value(postgres: Postgres) -> object:
    async with await psycopg.AsyncConnection.connect(postgres.dsn) as direct:
        row = await (await direct.execute("SELECT n FROM t WHERE id = 1")).fetchone()
        return row[0] if row else None


async def run(one: Gatewayed, sql: str, *, prepare: bool) -> psycopg.AsyncCursor[tuple[object, ...]]:
    connection = await psycopg.AsyncConnection.connect(one.dsn, autocommit=True)
    async with connection:
        if prepare:
            return await connection.execute(sql + " AND %s", (True,), prepare=True)
        return await connection.execute(sql)


CHANGED = {
    "a definition": Verification(sql=TRUE, expected=("as it is not",)),
    "a row more": Verification(sql=TRUE, expected=()),
    "a question that fails": Verification(sql="SELECT no_such_column", expected=("as it was",)),
    "a function, before the commit": Verification(
        sql=TRUE, expected=("as it was",), functions_sql=TRUE, functions_expected=("as it is not",)
    ),
    "a function's question that fails": Verification(
        sql=TRUE, expected=("as it was",), functions_sql="SELECT no_such_column", functions_expected=("as it was",)
    ),
}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("changed", CHANGED)
async def test_what_changed_since_it_was_described_is_not_done(
    gateway: Start, postgres: Postgres, changed: str, *, extended: bool
) -> None:
    sql = f"{UPDATE} AND $1" if extended else UPDATE
    one = await gateway(gate_of(APPROVED), describer=verifying(sql, CHANGED[changed]))  # type: ignore[misc]  # awaitable
    before = await value(postgres)
    with pytest.raises(psycopg.Error):
        await run(one, UPDATE, prepare=extended)
    assert await value(postgres) == before
    assert one.gate.ended[-1][1] != "completed"


@pytest.mark.parametrize("extended", [False, True])
async def test_what_is_as_described_is_done(gateway: Start, postgres: Postgres, *, extended: bool) -> None:
    sql = f"{UPDATE} AND $1" if extended else UPDATE
    same = Verification(sql=TRUE, expected=("as it was",), functions_sql=TRUE, functions_expected=("as it was",))
    one = await gateway(gate_of(APPROVED), describer=verifying(sql, same))  # type: ignore[misc]  # awaitable
    before = await value(postgres)
    assert (await run(one, UPDATE, prepare=extended)).rowcount == 1
    assert await value(postgres) != before


@pytest.mark.parametrize("extended", [False, True])
async def test_columns_of_one_type_in_another_order_let_no_row_out(
    gateway: Start, postgres: Postgres, *, extended: bool
) -> None:
    """Only the target's own table and column numbers tell these two apart."""
    sql = f"{SWAPPED} AND $1" if extended else SWAPPED
    describer = ScriptedDescriber()
    describer.outputs[sql] = (("email", postgres.table, 3), ("name", postgres.table, 2))
    one = await gateway(gate_of(MASK_EMAIL), describer=describer)  # type: ignore[misc]  # awaitable
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await run(one, SWAPPED, prepare=extended)
    assert one.gate.ended[-1][1] == "refused"
