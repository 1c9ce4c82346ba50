"""The two questions about approvals that decision.approvals asks through us: may this person review, and is what the
reviewers said enough?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError
from twokey.type.v1 import operation_pb2

from decision.errors import StateError
from decision.model import JSON, NO_LOGIN, Approval, Login, PolicyResult, Session, Subject
from decision.pdp import opa_input
from decision.pdp.plan_input import plan_of
from decision.pdp.questions import Questions
from decision.ports import Clock, History


class Review:
    def __init__(self, *, questions: Questions, clock: Clock, kinds: Mapping[str, str]) -> None:
        self._questions = questions
        self._clock = clock
        self._kinds = kinds

    async def past(self, subject: Subject) -> History:
        """What whoever is behind the reviewer has done, and who approved for whom. Raises StoreError."""
        live = opa_input.rejoin(subject, self._questions.engine.people)
        return await self._questions.past(live, reviews=True)

    def document(
        self, subject: Subject, approval: Approval, history: History | None = None, login: Login | None = NO_LOGIN
    ) -> JSON:
        """The question `review`, under the live people. login: the reviewer's; None to see it only."""
        people = self._questions.engine.people
        operation = _operation(approval)
        return opa_input.review_question(
            subject=opa_input.rejoin(subject, people),
            kind=self._kinds.get(approval.connection, ""),
            approval=approval,
            operation=operation,
            context=opa_input.Context(
                now=self._clock.now(),
                approval=opa_input.approval_context(approval, people),
                history=history,
                login=login or NO_LOGIN,
                plan=plan_of(operation, opa_input.rejoin(approval.requester, people), people),
            ),
            verdict=login is not None,
        )

    async def reconsider(self, approval: Approval) -> PolicyResult:
        """Policy on the held operation, with the verdicts as context. Missing facts come back as `needs`."""
        now = self._clock.now()
        session = Session(
            id=approval.session,
            subject=approval.requester,
            connection=approval.connection,
            environment=approval.environment,
            protocol=self._kinds.get(approval.connection, ""),
            client_address="",
            enforcer="",
            opened=approval.created,
            expires=approval.expires,
        )
        answered = await self._questions.operation(
            session=session,
            kind=self._kinds.get(approval.connection, ""),
            operation=_operation(approval),
            now=now,
            can_hold=True,
            approval=approval,
        )
        return replace(answered.result, needs=answered.missing or answered.result.needs)


def _operation(approval: Approval) -> operation_pb2.Operation:
    try:
        return operation_pb2.Operation.FromString(approval.operation)
    except DecodeError:
        raise StateError("the held operation can't be read back", code="APPROVAL_MISMATCH") from None
