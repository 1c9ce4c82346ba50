"""Access requests: an approval asked for by who was denied for want of one, watched, and taken back (access request and
approval profile 1.0). Who may approve, how many, and what a verdict does is decision.approvals' and policy's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from cachetools import TTLCache

from decision.approvals.records import KIND
from decision.approvals.service import Approvals
from decision.authzen import binding, held, message
from decision.authzen.binding import Binding, BindingError, Bound
from decision.authzen.evaluating import Evaluating
from decision.errors import BadRequestError, StateError
from decision.model import Approval, ApprovalState, Outcome, Subject, VerifiedToken
from decision.pdp.answer import approval_body, refusal_text
from decision.pdp.requesting import Requesting
from decision.ports import ApprovalStore, Clock, Recorder

URN: Final = "urn:openid:authzen:access-request:error:"
KEPT_S: Final = 2 * 86_400.0  # how long an Idempotency-Key is remembered
_KEPT: Final = 10_000
_STATUS: Final[Mapping[str, int]] = {
    "not_requestable": 400,
    "expired_denial": 410,
    "invalid_denial_binding": 400,
    "duplicate_request": 409,
    "unknown_task": 404,
    "task_expired": 410,
    "invalid_task_state": 409,
}
_TITLES: Final[Mapping[str, str]] = {
    "not_requestable": "Access is not requestable",
    "expired_denial": "The denial has expired",
    "invalid_denial_binding": "The request is not bound to a denial",
    "duplicate_request": "The Idempotency-Key was used for another request",
    "unknown_task": "There is no such task",
    "task_expired": "The task has expired",
    "invalid_task_state": "The task is in another state",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A problem type of the profile's."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name

    @property
    def status(self) -> int:
        return _STATUS[self.name]

    def document(self) -> Mapping[str, object]:
        """RFC 9457."""
        return {"type": URN + self.name, "title": _TITLES[self.name], "status": self.status, "detail": str(self)}


@dataclass(frozen=True, slots=True)
class _Submitted:
    body: bytes  # a digest
    task: asyncio.Future[str]  # the approval's id


class Requests:
    def __init__(
        self,
        *,
        evaluating: Evaluating,
        approvals: Approvals,
        store: ApprovalStore,
        requesting: Requesting,
        binding: Binding,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._evaluating = evaluating
        self._approvals = approvals
        self._store = store
        self._requesting = requesting
        self._binding = binding
        self._recorder = recorder
        self._clock = clock
        self._submitted: TTLCache[tuple[str, str], _Submitted] = TTLCache(_KEPT, KEPT_S)

    async def submit(
        self, caller: Subject, token: VerifiedToken, document: Mapping[str, object], *, key: str = ""
    ) -> Approval:
        """The task of a submission, new or there already. `key`: its Idempotency-Key, "" for none.

        Raises Problem, BadRequestError, PolicyError, PolicyUnavailableError, RecordError, StoreError, StateError."""
        if not key:
            return await self._submit(caller, token, document)
        client = binding.client_of(held.chain_of(caller))
        body = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()
        before = self._submitted.get((client, key))
        if before is not None and before.body != body:
            raise Problem("duplicate_request", "the same Idempotency-Key came with another body")
        if before is not None and (found := await held.mine(self._store, caller, await before.task)) is not None:
            return found
        this = _Submitted(body, asyncio.get_running_loop().create_future())
        self._submitted[client, key] = this
        try:
            found = await self._submit(caller, token, document)
            this.task.set_result(found.id)
            return found
        finally:
            if not this.task.done():
                this.task.set_result("")
                self._submitted.pop((client, key), None)

    async def task(self, caller: Subject, ident: str, *, wait_s: float = 0.0) -> Approval:
        """As it stands; with `wait_s`, as it stands once it is no longer pending, or by then. Raises Problem,
        StoreError."""
        found = await self._mine(caller, ident)
        if wait_s and found.state is ApprovalState.PENDING:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    async for one in self._approvals.watch(None, [ident]):
                        if one.state is not ApprovalState.PENDING:
                            break
            found = await self._mine(caller, ident)
        return found

    async def cancel(self, caller: Subject, ident: str, *, reason: str) -> Approval:
        """Raises Problem, and what withdrawing does."""
        found = await self._mine(caller, ident)
        if found.state is not ApprovalState.PENDING:
            raise Problem("invalid_task_state", f"the task is {status_of(found)}")
        try:
            return await self._approvals.withdraw(None, ident, reason=f"by {caller.party.name}: {reason}"[:1000])
        except StateError:
            raise Problem("invalid_task_state", "the task has ended meanwhile") from None

    async def _mine(self, caller: Subject, ident: str) -> Approval:
        found = await held.mine(self._store, caller, ident)
        if found is None:
            raise Problem("unknown_task", "there is no such task, or it is not yours")
        if found.state is ApprovalState.LAPSED or (
            found.state is ApprovalState.APPROVED and self._clock.now() >= found.expires
        ):
            raise Problem("task_expired", "what was approved has ended; ask again")
        return found

    async def _submit(self, caller: Subject, token: VerifiedToken, document: Mapping[str, object]) -> Approval:
        asked = message.evaluation(document)
        _check_unbuilt(document)
        _check_actor(document, token)
        bound = self._bound(caller, document)
        digest = binding.digest(document, bound.members)
        if digest is None or binding.text_of(digest) != bound.digest:
            raise Problem("invalid_denial_binding", "subject, resource, action or context is not what was denied")
        asked = message.evaluation(binding.relevant(asked.document, bound.members))
        found = await self._evaluating.ask(caller, asked)
        if found.result.outcome is not Outcome.REQUIRE_APPROVAL or found.result.needs:
            raise Problem("not_requestable", "policy doesn't hold this for an approval (any longer): evaluate it again")
        draft = held.draft(
            requester=self._evaluating.requester(caller, asked),
            caller=caller,
            evaluation=bound.evaluation,
            members=bound.members,
            asked=asked,
            digest=digest,
            added=_added(document, bound.members),
            result=found.result,
        )
        now = self._clock.now()
        opened = await self._requesting.open(draft, held.session(draft, now), held.operation(draft), now)
        if opened.approval is None:
            why = refusal_text(opened.refused) if opened.refused is not None else "no more can be asked for"
            raise StateError(why, code="APPROVAL_LIMIT")
        await self._recorder.append(KIND, approval_body(opened.approval, "requested" if opened.new else "found"))
        return opened.approval

    def _bound(self, caller: Subject, document: Mapping[str, object]) -> Bound:
        """What the submission's denial says, verified. Raises Problem."""
        denial = document.get("denial")
        token = denial.get("binding_token") if isinstance(denial, dict) else None
        if not isinstance(denial, dict) or not isinstance(token, str):
            raise Problem("invalid_denial_binding", "denial.binding_token is missing")
        try:
            bound = self._binding.read(token)
        except BindingError:
            raise Problem("invalid_denial_binding", "denial.binding_token is not one of ours") from None
        if bound.client != binding.client_of(held.chain_of(caller)):
            raise Problem("invalid_denial_binding", "it was another application that was denied")
        if denial.get("evaluation_id", bound.evaluation) != bound.evaluation:
            raise Problem("invalid_denial_binding", "denial.evaluation_id is another one")
        if _moment(denial.get("expires_at")) != bound.expires:
            raise Problem("invalid_denial_binding", "denial.expires_at is not what the denial said")
        if self._clock.now() >= bound.expires:
            raise Problem("expired_denial", "the denial is too old; evaluate it again")
        return bound


def status_of(approval: Approval) -> str:
    """The profile's word for an approval's state; anything that isn't one of them is a failure."""
    return {
        ApprovalState.PENDING: "pending",
        ApprovalState.APPROVED: "approved",
        ApprovalState.DENIED: "denied",
        ApprovalState.EXPIRED: "expired",
        ApprovalState.WITHDRAWN: "cancelled",
    }.get(approval.state, "failed")


def task_document(approval: Approval, base: str) -> Mapping[str, object]:
    """What the application is told: groups, never persons, and a reviewer's words only where they refused."""
    status, where = status_of(approval), f"{base}/{approval.id}"
    task: dict[str, object] = {
        "id": approval.id,
        "status": status,
        "status_endpoint": where,
        "expires_at": binding.spelt(approval.expires),
        "display": {"title": "Access request", "description": _words(approval, status)},
    }
    if status == "pending":
        task["links"] = {"cancel": f"{where}/cancel"}
    document: dict[str, object] = {"task": task}
    if status == "approved":
        told = {"id": approval.id, "approved_until": binding.spelt(approval.expires)}
        if approval.decided is not None:
            told["approved_at"] = binding.spelt(approval.decided)
        document["result"] = {"mode": "reevaluate", "approval": told}
    return document


def _words(approval: Approval, status: str) -> str:
    if status == "pending":
        return f"Waits for an answer of: {', '.join(approval.groups)}"
    refused = [verdict.reason for verdict in approval.verdicts if not verdict.approve and verdict.reason]
    return f"Refused: {refused[0]}" if status == "denied" and refused else status.capitalize()


def _check_unbuilt(document: Mapping[str, object]) -> None:
    """What would be ignored silently otherwise. Raises BadRequestError."""
    if "items" in document:
        raise BadRequestError("several items in one access request are not taken; submit each alone")
    if "callback" in document:
        raise BadRequestError("no callback endpoint is registered; ask for the task's status, with Prefer: wait")
    for name in ("requested_access", "client"):
        if not isinstance(document.get(name, {}), dict):
            raise BadRequestError(f"{name} is not an object")


def _check_actor(document: Mapping[str, object], token: VerifiedToken) -> None:
    """A chain of actors that the submission claims is the one that the caller's own token proves, whole. Raises
    BadRequestError."""
    client = document.get("client")
    actor = client.get("actor") if isinstance(client, dict) else None
    if actor is None:
        return
    claimed: list[tuple[object, object]] = []
    link: object = 0
    if isinstance(actor, dict):
        link = {"sub": actor.get("id"), "iss": actor.get("issuer"), "act": actor.get("act")}
    while isinstance(link, dict) and len(claimed) <= len(token.actors):
        claimed.append((link.get("iss"), link.get("sub")))
        link = link.get("act")
    if link is not None or claimed != [(one.iss, one.sub) for one in token.actors]:
        raise BadRequestError("client.actor is not the chain that the caller's token proves")


def _added(document: Mapping[str, object], members: object) -> Mapping[str, object]:
    """What the submission says beyond what was denied: for reviewers' eyes, bounded, and never judged by."""
    context = document.get("context")
    inner = context if isinstance(context, dict) else {}
    known = set(members) if isinstance(members, list | tuple) else set()
    more = {name: value for name, value in inner.items() if name not in known}
    found = {"context": more, **{name: document[name] for name in ("requested_access", "client") if name in document}}
    return found if any(found.values()) else {}


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
