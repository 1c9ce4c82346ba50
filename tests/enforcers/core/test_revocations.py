"""What the stream tells of classifications: kept, told to whoever asks, and only when it changed."""

from __future__ import annotations

import asyncio

from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import operation_pb2

from enforcers.core.core import EnforcerCore
from enforcers.core.leases import LeaseTable
from enforcers.core.revocations import Revocations
from tests.enforcers.core.service import ScriptedService

Told = asyncio.Queue[tuple[str, frozenset[tuple[str, str, str]]]]
EMAIL = ("public", "customers", "email")


async def test_a_change_of_the_classification_is_told_once(core: EnforcerCore, service: ScriptedService) -> None:
    told: Told = asyncio.Queue()
    core.on_classified(lambda connection, columns: told.put_nowait((connection, columns)))
    for message in (_message("crm", EMAIL), _message("crm", EMAIL), _message("crm")):
        await service.news.put(message)
    async with asyncio.timeout(5):
        assert [await told.get(), await told.get()] == [("crm", frozenset({EMAIL})), ("crm", frozenset())]
    late: Told = asyncio.Queue()
    core.on_classified(lambda connection, columns: late.put_nowait((connection, columns)))
    assert late.get_nowait() == ("crm", frozenset())


async def test_all_is_known_before_anything_is_served(core: EnforcerCore) -> None:
    revocations = Revocations(core._client, LeaseTable(), enforcer="enf-1")
    revocations._take(_message("crm", EMAIL))
    assert not await revocations.ready(0.01)  # there may be more
    revocations._take(decision_pb2.WatchRevocationsResponse(sequence=2, revision="r1"))
    assert await revocations.ready(0.01)


def _message(connection: str, *columns: tuple[str, str, str]) -> decision_pb2.WatchRevocationsResponse:
    named = [operation_pb2.ColumnName(schema=schema, relation=name, column=column) for schema, name, column in columns]
    classified = decision_pb2.ClassifiedColumns(connection=connection, columns=named)
    return decision_pb2.WatchRevocationsResponse(sequence=1, revision="r1", classified=classified)
