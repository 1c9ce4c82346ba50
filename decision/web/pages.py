"""Inbox, one request, its verdict, and what was. Who may see and answer is the approval service's to say (Rego).

A verdict is a POST with a token that says for which act, by its digest, and whether all of the statement was on the
page: a form from a page that showed head and tail can deny, and can't approve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from twokey.type.v1 import subject_pb2

from decision.approvals.service import Approvals
from decision.errors import BadRequestError, CallerError
from decision.model import Approval, Subject
from decision.pdp.reading import Reading
from decision.ports import Clock
from decision.rpc.approval_service import shown
from decision.rpc.supervise import Supervisor
from decision.settings import StepUp
from decision.showing import approval as showing
from decision.showing import plan, render
from decision.web import forms, statement
from decision.web.browsers import Browser, Browsers
from decision.web.templates import Templates

SERVICE: Final = "twokey.approval.v1.ApprovalService"
CHANNEL: Final = "web"
MAX_REASON: Final = 2000  # characters
MAX_ROWS: Final = 200
SIMILAR: Final = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list. left: until it expires."""

    id: str
    state: str
    asker: str
    connection: str
    environment: str
    left: str
    asked: str
    first: str


@dataclass(frozen=True, slots=True)
class Link:
    """One identity of the requester's chain. part: what it is in the chain. owner: of an agent, else ""."""

    name: str
    part: str
    identity: str
    owner: str


class Pages:
    def __init__(
        self,
        *,
        browsers: Browsers,
        approvals: Approvals,
        reading: Reading,
        supervisor: Supervisor,
        clock: Clock,
        templates: Templates,
        origin: str,
        step_up: StepUp | None,
    ) -> None:
        self._browsers = browsers
        self._approvals = approvals
        self._reading = reading
        self._supervisor = supervisor
        self._clock = clock
        self._templates = templates
        self._origin = origin
        self._step_up = step_up

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.inbox),
            web.get("/history", self.history),
            web.get("/requests/{id:apr_[a-z2-7]{26}}", self.request),
            web.post("/requests/{id:apr_[a-z2-7]{26}}", self.verdict),
        ]

    async def inbox(self, request: web.Request) -> web.Response:
        browser = await self._browsers.of(request)
        viewer = await self._browsers.permit(browser, f"{SERVICE}/List")
        found = await self._approvals.list(viewer)
        rows = await self._rows(viewer, [one for one in found if one.state.value == "pending"])
        return self._page(
            browser, viewer, "inbox.html", title="Waiting for an answer", here="inbox", rows=rows, all=len(found)
        )

    async def history(self, request: web.Request) -> web.Response:
        browser = await self._browsers.of(request)
        viewer = await self._browsers.permit(browser, f"{SERVICE}/List")
        found = await self._approvals.list(viewer, include_finished=True)
        rows = await self._rows(viewer, [one for one in found if one.state.value != "pending"])
        return self._page(browser, viewer, "history.html", title="History", here="history", rows=rows)

    async def request(self, request: web.Request) -> web.Response:
        browser = await self._browsers.of(request)
        viewer = await self._browsers.permit(browser, f"{SERVICE}/Get")
        found = await self._approvals.get(viewer, request.match_info["id"])
        message = await shown(self._reading, viewer, found)
        alike = await self._approvals.similar(viewer, found, limit=SIMILAR)
        values = message.operation.sql.values
        whole = "whole" in request.query
        body = message.operation.plan if message.operation.HasField("plan") else None
        text = values.statement if body is None else plan.text(body)
        view = await asyncio.to_thread(statement.view, text, whole=whole)
        named = await asyncio.to_thread(statement.view, values.named, whole=whole)
        bound = await asyncio.to_thread(statement.bound, values.bound, whole=whole)
        complete = not view.cut and not named.cut and not bound.cut
        return self._page(
            browser,
            viewer,
            "request.html",
            title=f"Request {found.id}",
            approval=message,
            state=showing.state(message),
            view=view,
            named=named if values.named else None,
            complete=complete,
            too_long=view.too_long or named.too_long or bound.too_long,
            hidden=showing.hidden(message),
            warnings=showing.warnings(message),
            reasons=message.reasons,
            bound=bound.lines,
            follows=render.follows(message.operation.sql) if body is None else plan.follows(body),
            touches=render.touches(message.operation.sql) if body is None else plan.touches(body),
            uncovered=render.not_covered(message.operation.sql) if body is None else plan.uncovered(body),
            plan=body,
            until="" if body is None else render.when(body.expires),
            chain=chain(message.requester),
            asker=render.subject(message.requester),
            verdicts=[showing.verdict(given) for given in message.verdicts],
            similar=await self._rows(viewer, alike),
            asked=render.when(message.created),
            expires=render.when(message.expires),
            left=render.remaining(message.expires, self._clock.now()),
            answerable=self._answerable(browser, viewer, found),
            step_up=self._needs_step_up(browser, found),
            approve_token=self._token(browser, found, "approve") if complete else "",
            deny_token=self._token(browser, found, "deny"),
        )

    async def verdict(self, request: web.Request) -> web.Response:
        """Approve or deny. The same answer for an id that isn't this reviewer's as for one that is nobody's."""
        forms.same_origin(request, self._origin)
        browser = await self._browsers.of(request)
        form = await forms.fields(request, frozenset({"token", "verdict", "reason"}))
        approve = form["verdict"] == "approve"
        if form["verdict"] not in {"approve", "deny"}:
            raise BadRequestError("say approve or deny")
        viewer = await self._browsers.permit(browser, f"{SERVICE}/{'Approve' if approve else 'Deny'}")
        found = await self._approvals.get(viewer, request.match_info["id"])
        browser.check(form["token"], *_purpose(found, form["verdict"]))
        reason = form["reason"].replace("\r\n", "\n").strip()
        if len(reason) > MAX_REASON:
            raise BadRequestError(f"a reason has at most {MAX_REASON} characters", code="TOO_LARGE")
        if not approve and not reason:
            raise BadRequestError("say why: who asked gets your words")
        if approve and self._needs_step_up(browser, found):
            raise CallerError("this verdict needs a fresh log-in; open the request again and confirm that it is you")
        answer: Callable[..., Awaitable[Approval]] = self._approvals.approve if approve else self._approvals.deny

        async def give() -> Approval:
            return await answer(viewer, found.id, reason=reason, channel=CHANNEL)

        await self._supervisor.run(give())
        raise web.HTTPSeeOther(f"/requests/{found.id}")

    async def _rows(self, viewer: Subject, found: Sequence[Approval]) -> list[Row]:
        messages = [await shown(self._reading, viewer, one) for one in found[:MAX_ROWS]]
        now = self._clock.now()
        return [
            Row(
                id=one.id,
                state=showing.state(one),
                asker=render.subject(one.requester),
                connection=render.safe(one.connection),
                environment=render.safe(one.environment),
                left=render.remaining(one.expires, now),
                asked=render.when(one.created),
                first=showing.first(one, 120),
            )
            for one in messages
        ]

    def _needs_step_up(self, browser: Browser, approval: Approval) -> bool:
        """Whether an approval of this needs a log-in that is fresher or stronger than this browser's."""
        wanted = self._step_up
        if wanted is None or not {approval.environment, "*"} & set(wanted.environments):
            return False
        session = browser.session
        if session.auth_time is None or (wanted.acr and session.acr not in wanted.acr):
            return True
        return (self._clock.now() - session.auth_time).total_seconds() > wanted.max_age_s

    @staticmethod
    def _answerable(browser: Browser, viewer: Subject, approval: Approval) -> bool:
        """Whether a form makes sense; whether its verdict counts is policy's to say when it comes."""
        mine = viewer.party.identity == approval.requester.party.identity
        given = any(one.reviewer.party.identity == viewer.party.identity for one in approval.verdicts)
        return approval.state.value == "pending" and not mine and not given and bool(browser.session.token.roles)

    @staticmethod
    def _token(browser: Browser, approval: Approval, verdict: str) -> str:
        return browser.token(*_purpose(approval, verdict))

    def _page(self, browser: Browser, viewer: Subject, name: str, *, title: str, **facts: object) -> web.Response:
        person = viewer.party.name or viewer.party.identity.sub
        known = {**facts, "person": person, "log_out": browser.token("log-out")}
        return self._templates.page(name, known, title=title)


def _purpose(approval: Approval, verdict: str) -> tuple[str, ...]:
    return ("verdict", approval.id, approval.key.digest.hex(), verdict)


def chain(requester: subject_pb2.Subject) -> list[Link]:
    """From whom it is for to who asks now (RFC 8693 `act`, turned round)."""
    parties = [requester.identity, *reversed(requester.actors)]
    links = []
    for number, party in enumerate(parties):
        part = "asks" if number == len(parties) - 1 else "for whom" if number == 0 else "acts for the one before"
        if len(parties) == 1:
            part = "asks, for itself"
        identity = f"{render.safe(party.sub)} at {render.safe(party.iss)}"
        links.append(Link(render.identity(party), part, identity, render.safe(party.owner)))
    return links
