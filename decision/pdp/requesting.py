"""Opening a request for an approval: policy says whether this closure may ask for one more (question `request`).

An approval that the act may use already is found without a question. Those that are asked for at once are told of each
other: each counts what is open and everyone of its closure who came before it and isn't done yet. So a burst needs no
turns, and no more of it are opened than policy lets. Between replicas the store tells when more is there by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from twokey.type.v1 import operation_pb2

from decision.errors import PolicyUnavailableError, StateError
from decision.model import Approval, Outcome, PolicyResult, Session
from decision.pdp import opa_input
from decision.pdp.deadlines import stored
from decision.pdp.questions import Questions
from decision.ports import ApprovalDraft, ApprovalStore, Requests

_TRIES: Final = 8
ASKED_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """`refused`: policy's answer, where it lets nothing more be asked."""

    approval: Approval | None
    new: bool = False
    refused: PolicyResult | None = None


@dataclass(eq=False, slots=True)
class _Asker:
    """One who asks now. before: those of its closure who came first; after: how many came since."""

    closure: frozenset[str]
    before: list[_Asker]
    after: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Requesting:
    def __init__(self, *, questions: Questions, approvals: ApprovalStore, kinds: Mapping[str, str]) -> None:
        """`kinds`: connection name to kind."""
        self._questions = questions
        self._approvals = approvals
        self._kinds = kinds
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE)  # a burst must not make OPA late for everybody
        self._askers: set[_Asker] = set()  # no more than there are sessions

    async def open(
        self, draft: ApprovalDraft, session: Session, operation: operation_pb2.Operation, now: datetime
    ) -> Opened:
        """Raises PolicyError, PolicyUnavailableError, StateError, StoreError."""
        opened: Opened | None = None
        for _ in range(_TRIES):
            with self._asking(frozenset(draft.requester.closure)) as asker:
                before = asker.before
                try:
                    opened = await self._open(draft, session, operation, now, asker)
                except StateError as error:
                    if error.code != "REQUESTS_CHANGED":
                        raise
                    continue
            if opened.refused is None or not before:
                return opened
            for one in before:  # one that was counted twice, or was refused itself, must not refuse this
                await one.done.wait()
        if opened is None:
            raise PolicyUnavailableError("too much is asked for at once; ask again")
        return opened

    async def _open(
        self,
        draft: ApprovalDraft,
        session: Session,
        operation: operation_pb2.Operation,
        now: datetime,
        asker: _Asker,
    ) -> Opened:
        counted = await stored(self._approvals.requests(draft))
        if counted is None:
            return Opened(*await stored(self._approvals.find_or_create(draft)))
        document = opa_input.request_question(
            subject=draft.requester,
            session=session,
            kind=self._kinds.get(session.connection, ""),
            operation=operation,
            context=opa_input.Context(now=now, requests=_more(counted, len(asker.before))),
        )
        async with self._slots:
            result = await self._questions.ask(document)
        if result.outcome is not Outcome.ALLOW or result.needs or result.obligations:
            return Opened(None, refused=result)
        seen = _more(counted, len(asker.before) + asker.after)
        return Opened(*await stored(self._approvals.find_or_create(draft, seen=seen)))

    @contextmanager
    def _asking(self, closure: frozenset[str]) -> Iterator[_Asker]:
        before = [one for one in self._askers if not closure.isdisjoint(one.closure)]
        for one in before:
            one.after += 1
        asker = _Asker(closure, before)
        self._askers.add(asker)
        try:
            yield asker
        finally:
            self._askers.discard(asker)
            asker.before = []  # else each would keep all that ever came before it
            asker.done.set()


def _more(counted: Requests, number: int) -> Requests:
    return Requests(counted.live + number, counted.hour + number, counted.refused)
