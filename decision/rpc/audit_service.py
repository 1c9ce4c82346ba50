"""AuditService: acts into the log, records out of it. Reading the log is itself recorded."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

import structlog
from twokey.audit.v1 import audit_pb2, audit_pb2_grpc

from decision.audit.record import MAX_INTEGER
from decision.errors import BadRequestError, StoreError
from decision.metrics import Metrics
from decision.model import JSON
from decision.pdp.answer import who_body
from decision.pdp.deadlines import stored
from decision.pdp.planned import PlannedActs
from decision.pdp.reading import Reading
from decision.pdp.sessions import Sessions
from decision.ports import ApprovalStore, Recorder
from decision.rpc.acts import act_body
from decision.rpc.auth import CALLER
from decision.rpc.record_reading import RecordReading
from decision.rpc.supervise import Supervisor

MAX_ACTS: Final = 10_000
_OPERATION_ID: Final = re.compile(r"op_[a-z2-7]{26}\Z")
_log = structlog.get_logger(__name__)


class GrowingLog(Recorder, Protocol):
    """A log that says when it has grown, and when what was promised is in it."""

    async def grown(self, size: int) -> None: ...

    async def settled(self) -> int: ...


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    def __init__(
        self,
        *,
        log: GrowingLog,
        sessions: Sessions,
        approvals: ApprovalStore,
        reading: Reading,
        supervisor: Supervisor,
        metrics: Metrics,
        planned: PlannedActs | None = None,
    ) -> None:
        self._recorder = log
        self._sessions = sessions
        self._approvals = approvals
        self._reading = reading
        self._supervisor = supervisor
        self._metrics = metrics
        self._planned = planned

    async def RecordActs(self, request: audit_pb2.RecordActsRequest, context: Any) -> Any:
        """All of them durable, or an error and none of them."""
        acts = request.acts
        if not acts or len(acts) > MAX_ACTS:
            raise BadRequestError(f"a call has 1 to {MAX_ACTS} acts", code="TOO_LARGE" if acts else None)
        prefix = CALLER.get().prefix
        for session in {act.session for act in acts}:
            await self._sessions.must_be_known(session)
            await self._sessions.must_belong(session, prefix)
        records = [("act", act_body(act)) for act in acts]
        executions = [act for act in acts if act.outcome.execution]
        last = await self._supervisor.run(self._append(records, executions))
        self._metrics.acted(len(records))
        return audit_pb2.RecordActsResponse(last_record=last)

    async def RecordActsStream(
        self, request_iterator: AsyncIterator[audit_pb2.RecordActsRequest], context: Any
    ) -> None:
        """RecordActs, batch after batch over one open call; the first that fails ends it, with its error."""
        async for request in request_iterator:
            await context.write(await self.RecordActs(request, context))

    async def _append(self, records: Sequence[tuple[str, JSON]], executions: Sequence[audit_pb2.Act]) -> int:
        last = await self._recorder.append_many(records)
        for act in executions:
            outcome, execution = act.outcome, act.outcome.execution
            try:
                await stored(self._approvals.finished(execution))
                if self._planned is not None:
                    await self._planned.ended(
                        execution, act.operation, status=outcome.status, rows=outcome.rows, why=outcome.error
                    )
            except StoreError as error:
                # The record stands. The approval will show "outcome unknown", never be usable again.
                _log.warning("an outcome did not reach its approval", execution=execution[:64], code=error.code)
        return last

    async def Read(self, request: audit_pb2.ReadRequest, context: Any) -> AsyncIterator[audit_pb2.ReadResponse]:
        if request.operation and not _OPERATION_ID.match(request.operation):
            raise BadRequestError("that is not an operation's id")
        if request.limit < 0 or abs(request.start) > MAX_INTEGER or request.limit > MAX_INTEGER:
            raise BadRequestError("start or limit is out of range")
        size = await self._recorder.settled()
        start = request.start if request.start >= 0 else max(0, size + request.start)
        await self._recorder.append(
            "log-read",
            {
                "reader": who_body(CALLER.get().required_subject()),
                "start": start,
                "limit": request.limit,
                "follow": request.follow,
                "operation": request.operation,
            },
        )
        # Canonical JSON has one spelling, and no string can hold an unescaped quote: this is an exact test.
        wanted = b'"operation":"%b"' % request.operation.encode()
        shown = RecordReading(self._reading, self._recorder, CALLER.get().required_subject())
        left = request.limit or MAX_INTEGER
        end = size
        while True:
            async for index, payload in self._recorder.read(start, max(0, end - start)):
                start = index + 1
                if request.operation and wanted not in payload:
                    continue
                yield audit_pb2.ReadResponse(index=index, record=await shown.payload(index, payload))
                left -= 1
                if not left:
                    return
            if not request.follow:
                return
            await self._recorder.grown(start)
            end = self._recorder.size
