"""PlanService: thin over decision.plans."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from twokey.plan.v1 import plan_pb2, plan_pb2_grpc

from decision.errors import BadRequestError
from decision.model import Subject
from decision.pdp.reading import Reading
from decision.plans.model import Execution
from decision.plans.service import Plans, Shown
from decision.rpc import plan_convert
from decision.rpc.auth import CALLER
from decision.rpc.supervise import Supervisor

WAIT_S: Final = 10.0  # that Step waits for the next one
LOOK_S: Final = 0.2


class PlanService(plan_pb2_grpc.PlanServiceServicer):
    def __init__(self, plans: Plans, reading: Reading, supervisor: Supervisor) -> None:
        self._plans = plans
        self._reading = reading
        self._supervisor = supervisor

    async def Propose(self, request: plan_pb2.ProposeRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        work = self._plans.propose(subject, plan_convert.proposal_of(request.plan))
        return await self._message(subject, await self._supervisor.run(work))

    async def Preview(self, request: plan_pb2.PreviewRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        if bool(request.plan) == request.HasField("draft"):
            raise BadRequestError("preview a stored plan by its id, or a draft")
        if request.plan:
            return await self._message(subject, await self._plans.again(subject, request.plan))
        return await self._message(subject, await self._plans.preview(subject, plan_convert.proposal_of(request.draft)))

    async def Get(self, request: plan_pb2.GetRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        return await self._message(subject, await self._plans.get(subject, request.id))

    async def List(self, request: plan_pb2.ListRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        found = await self._plans.list(subject, include_finished=request.all)
        return plan_pb2.ListResponse(plans=[await self._message(subject, one) for one in found])

    async def Start(self, request: plan_pb2.StartRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        return self._execution(await self._supervisor.run(self._plans.start(subject, request.plan)))

    async def Step(self, request: plan_pb2.StepRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        ends = asyncio.get_running_loop().time() + WAIT_S
        while True:
            found = await self._plans.step(subject, request.execution)
            if not found.live or found.next > request.step or asyncio.get_running_loop().time() >= ends:
                return self._execution(found)
            await asyncio.sleep(LOOK_S)

    async def Finish(self, request: plan_pb2.FinishRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        return self._execution(await self._supervisor.run(self._plans.finish(subject, request.execution)))

    async def Abort(self, request: plan_pb2.AbortRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        work = self._plans.abort(subject, request.execution, request.reason)
        return self._execution(await self._supervisor.run(work))

    async def Resolve(self, request: plan_pb2.ResolveRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        work = self._plans.resolve(subject, request.execution, outcome=request.outcome, reason=request.reason)
        return self._execution(await self._supervisor.run(work))

    @staticmethod
    def _execution(found: Execution) -> plan_pb2.Execution:
        return plan_convert.execution(found)

    async def _message(self, viewer: Subject, shown: Shown) -> plan_pb2.Plan:
        """As the viewer may see it: without constants whose labels are hidden; and for whoever proposed it without what
        the target estimates, since a number is an answer about rows that they may not be shown."""
        message = plan_convert.plan(shown)
        found = shown.plan
        body = await self._reading.plan(viewer, found.body, connection=found.connection, environment=found.environment)
        message.body.CopyFrom(body)
        if set(viewer.closure) & set(found.requester.closure):
            _without_estimates(message)
        return message


def _without_estimates(message: plan_pb2.Plan) -> None:
    for step in message.body.steps:
        step.operation.sql.values.ClearField("estimate")
    for preview in message.previews:
        if preview.HasField("estimate"):
            preview.ClearField("estimate")
            preview.no_estimate = "it is shown to reviewers"
