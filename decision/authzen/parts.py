"""AuthZEN's endpoints, built of the service's parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from aiohttp import web

from decision.approvals.service import Approvals
from decision.authzen.binding import Binding
from decision.authzen.evaluating import Evaluating
from decision.authzen.held import CONNECTION
from decision.authzen.http import AuthZen
from decision.authzen.request_http import AccessRequests
from decision.authzen.requests import Requests
from decision.metrics import Metrics
from decision.model import Approval, PolicyResult
from decision.pdp.questions import Questions
from decision.pdp.requesting import Requesting
from decision.ports import ApprovalStore, Clock, Recorder
from decision.rpc.auth import Authenticator
from decision.rpc.supervise import Supervisor

Reconsider: TypeAlias = Callable[[Approval], Awaitable[PolicyResult]]


def reconsidering(acts: Reconsider, evaluating: Evaluating) -> Reconsider:
    """What asks policy again about an approval: of an act, or of another application's question."""

    def reconsider(approval: Approval) -> Awaitable[PolicyResult]:
        return (evaluating.reconsider if approval.connection == CONNECTION else acts)(approval)

    return reconsider


def routes(
    *,
    authenticator: Authenticator,
    evaluating: Evaluating,
    approvals: Approvals,
    store: ApprovalStore,
    denials: Binding,
    recorder: Recorder,
    clock: Clock,
    metrics: Metrics,
    supervisor: Supervisor,
    questions: Questions,
) -> Sequence[web.RouteDef]:
    requests = Requests(
        evaluating=evaluating,
        approvals=approvals,
        store=store,
        requesting=Requesting(questions=questions, approvals=store, kinds={}),
        binding=denials,
        recorder=recorder,
        clock=clock,
    )
    asked_for = AccessRequests(
        authenticator=authenticator, requests=requests, binding=denials, supervisor=supervisor, metrics=metrics
    )
    access = AuthZen(authenticator=authenticator, evaluating=evaluating, metrics=metrics)
    return [*access.routes(), *asked_for.routes()]
