"""Answers to DescribeService: plans, previews and explain ask what a statement would do, without running anything."""

from __future__ import annotations

from collections.abc import Mapping

from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from enforcers.core.errors import DescribeError, UpstreamError
from enforcers.postgres.commands import EstimateRows
from enforcers.postgres.describe.digest import operation_digest
from enforcers.postgres.description import Description, SessionNames, SyntaxProblem
from enforcers.postgres.machine_state import Transaction
from enforcers.postgres.maskers.fit import misfits
from enforcers.postgres.operations import build, new_operation_id
from enforcers.postgres.source import LiveSource


class Questions:
    """core.ports.Describer over this gateway's connections. Raises DescribeError with a sentence for people."""

    def __init__(self, sources: Mapping[str, LiveSource]) -> None:
        self._sources = sources

    async def describe(self, question: describe_pb2.DescribeQuestion) -> operation_pb2.Operation:
        description, names = await self._described(
            question.connection,
            question.role,
            question.statement,
            tuple(question.search_path),
            fresh=question.fresh,
        )
        return build(
            question.connection,
            description,
            operation_id=new_operation_id(),
            digest=operation_digest(description, names, question.connection),
            transaction=Transaction(),
            read_only=False,
            position=0,
            statements=1,
            bound=(),
        )

    async def estimate(self, question: describe_pb2.EstimateQuestion) -> describe_pb2.EstimateAnswer:
        description, names = await self._described(
            question.connection, question.role, question.statement, tuple(question.search_path)
        )
        wanted = EstimateRows(description, names, tuple(question.bound))
        found = await self._source(question.connection).estimate(wanted, question.role)
        if found.rows is None:
            return describe_pb2.EstimateAnswer(unknown=True, why=found.why)
        return describe_pb2.EstimateAnswer(estimate=operation_pb2.Estimate(rows=found.rows, cost=found.cost))

    async def catalog_dump(self, question: describe_pb2.CatalogDumpQuestion) -> bytes:
        raise DescribeError(f"this gateway can't dump the catalog of {question.connection} yet")

    async def maskers(self, question: describe_pb2.MaskersQuestion) -> describe_pb2.MaskersAnswer:
        source = self._source(question.connection)
        return await misfits(source.connect_catalog, question.masks, keyed=source.masking_key is not None)

    def _source(self, connection: str) -> LiveSource:
        source = self._sources.get(connection)
        if source is None:
            raise DescribeError(f"this gateway does not serve connection {connection!r}")
        return source

    async def _described(
        self, connection: str, role: str, statement: bytes, search_path: tuple[str, ...], *, fresh: bool = False
    ) -> tuple[Description, SessionNames]:
        source = self._source(connection)
        try:
            describer = await source.describer()
            if fresh:
                if not describer.fresh:
                    await source.refresh()  # this one may be content with a look that had begun before
                await source.refresh()
            names = await source.names(role, search_path)
        except UpstreamError as error:
            raise DescribeError(str(error)) from error
        described = describer.describe(statement, names)
        if isinstance(described, SyntaxProblem):
            raise DescribeError(described.message)
        if len(described) != 1:
            raise DescribeError("one statement at a time, please")
        return described[0], names
