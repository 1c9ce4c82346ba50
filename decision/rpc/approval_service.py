"""ApprovalService: thin over decision.approvals. What a verdict does and who may see what is decided there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twokey.approval.v1 import approval_pb2, approval_pb2_grpc

from decision.approvals.service import Approvals
from decision.model import Approval, Subject
from decision.pdp.reading import Reading
from decision.rpc import convert
from decision.rpc.auth import CALLER
from decision.rpc.supervise import Supervisor


class ApprovalService(approval_pb2_grpc.ApprovalServiceServicer):
    def __init__(self, approvals: Approvals, reading: Reading, supervisor: Supervisor) -> None:
        self._approvals = approvals
        self._reading = reading
        self._supervisor = supervisor

    async def Get(self, request: approval_pb2.GetRequest, context: Any) -> Any:
        return await self._shown(await self._approvals.get(CALLER.get().viewer, request.id))

    async def List(self, request: approval_pb2.ListRequest, context: Any) -> Any:
        found = await self._approvals.list(CALLER.get().viewer, include_finished=request.all)
        return approval_pb2.ListResponse(approvals=[await self._shown(item) for item in found])

    async def Watch(self, request: approval_pb2.WatchRequest, context: Any) -> AsyncIterator[approval_pb2.Approval]:
        async for item in self._approvals.watch(CALLER.get().viewer, tuple(request.ids)):
            yield await self._shown(item)

    async def Approve(self, request: approval_pb2.ApproveRequest, context: Any) -> Any:
        caller = CALLER.get()
        work = self._approvals.approve(
            caller.required_subject(),
            request.id,
            reason=request.reason,
            channel=request.channel,
            login=caller.required_token().login,
        )
        return await self._shown(await self._supervisor.run(work))

    async def Deny(self, request: approval_pb2.DenyRequest, context: Any) -> Any:
        caller = CALLER.get()
        work = self._approvals.deny(
            caller.required_subject(),
            request.id,
            reason=request.reason,
            channel=request.channel,
            login=caller.required_token().login,
        )
        return await self._shown(await self._supervisor.run(work))

    async def Withdraw(self, request: approval_pb2.WithdrawRequest, context: Any) -> Any:
        work = self._approvals.withdraw(CALLER.get().viewer, request.id, reason=request.reason)
        return await self._shown(await self._supervisor.run(work))

    async def _shown(self, approval: Approval) -> approval_pb2.Approval:
        return await shown(self._reading, CALLER.get().viewer, approval)


async def shown(reading: Reading, viewer: Subject | None, approval: Approval) -> approval_pb2.Approval:
    """As the viewer may see it: an enforcer (None) all of it, anyone else without constants whose labels are hidden."""
    message = convert.approval(approval)
    if viewer is not None:
        message.operation.CopyFrom(await reading.approval(viewer, approval))
    return message
