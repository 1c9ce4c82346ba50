"""Explain: what would be decided, for whom, and why. Executes, holds and leases nothing; the question is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import orjson
from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from decision.errors import BadRequestError, CallerError, NotFoundError, PolicyUnavailableError, TokenError
from decision.model import Outcome, Session, Subject, VerifiedToken, new_id
from decision.pdp import opa_input
from decision.pdp.answer import (
    Answer,
    answer_body,
    budgets_used,
    call_denied_body,
    input_body,
    refusal_text,
    session_body,
    values_body,
    who_body,
)
from decision.pdp.questions import Answered, Questions
from decision.pdp.sessions import Connection
from decision.ports import Clock, Recorder

RPC: Final = "twokey.decision.v1.DecisionService/Explain"


class Describer(Protocol):
    """Enforcers, as Explain needs them (decision.rpc.describe_hub)."""

    async def describe(
        self, connection: str, role: str, statement: bytes, search_path: Sequence[str] = ()
    ) -> operation_pb2.Operation: ...

    async def estimate(
        self,
        connection: str,
        role: str,
        statement: bytes,
        search_path: Sequence[str] = (),
        bound: Sequence[operation_pb2.BoundValue] = (),
    ) -> describe_pb2.EstimateAnswer: ...


@dataclass(frozen=True, slots=True)
class Explained:
    operation: operation_pb2.Operation
    answer: Answer
    input: str  # the question put to OPA, JSON


class Explain:
    def __init__(
        self,
        *,
        questions: Questions,
        describer: Describer,
        recorder: Recorder,
        clock: Clock,
        connections: Mapping[str, Connection],
    ) -> None:
        self._questions = questions
        self._describer = describer
        self._recorder = recorder
        self._clock = clock
        self._connections = connections

    async def explain(self, asker: Subject, *, connection: str, role: str, statement: bytes, about: str) -> Explained:
        """What `about` (the asker itself when empty) would be told. Raises DecisionError."""
        known = self._connections.get(connection)
        if known is None:
            raise NotFoundError(f"there is no connection {connection[:256]!r}", code="UNKNOWN_CONNECTION")
        now = self._clock.now()
        subject = await self._subject(asker, role=role, about=about, now=now)
        session = Session(
            id="",
            subject=subject,
            connection=connection,
            environment=known.environment,
            protocol=known.kind,
            client_address="",
            enforcer="",
            opened=now,
            expires=now,
        )
        operation = await self._describer.describe(connection, role, statement)
        operation.id = operation.id or new_id("op")
        answered = await self._ask(session, known.kind, operation, now)
        if "estimate" in answered.missing:
            await self._estimate(operation, connection, role, statement)
            answered = await self._ask(session, known.kind, operation, now)
        if answered.missing:
            raise PolicyUnavailableError("the enforcer's description lacks what policy needs")
        return await self._record(asker, session, operation, answered, now)

    async def _subject(self, asker: Subject, *, role: str, about: str, now: datetime) -> Subject:
        if about and about != asker.party.name:
            await self._may_ask(asker, about, now)
            party = self._questions.engine.people.by_name(about)
            if party is None:
                raise NotFoundError(f"{about[:256]!r} is not in people")
            token = VerifiedToken(
                identity=party.identity,
                actors=(),
                roles=(role,),
                expires=now,
                token_id="",
                dev=asker.dev,
            )
            return self._questions.engine.people.subject(token, role=role)
        if role not in asker.roles:
            raise TokenError("the token does not carry the role that was asked for", code="TOKEN_ROLE")
        return replace(asker, role=role)

    async def _may_ask(self, asker: Subject, about: str, now: datetime) -> None:
        """Policy's word on asking about somebody else. Raises CallerError, PolicyError, PolicyUnavailableError."""
        context = opa_input.Context(now=now)
        document = opa_input.call_question(subject=asker, rpc=RPC, context=context, about=about[:256])
        result = await self._questions.ask(document)
        if result.outcome is Outcome.ALLOW and not result.needs and not result.obligations:
            return
        await self._recorder.append("call-denied", call_denied_body(RPC, asker, document, result))
        raise CallerError(refusal_text(result))

    async def _ask(self, session: Session, kind: str, operation: operation_pb2.Operation, now: datetime) -> Answered:
        if operation.WhichOneof("kind") != "sql":
            raise BadRequestError("this kind of operation is not decided yet", code="NOT_SUPPORTED")
        return await self._questions.operation(session=session, kind=kind, operation=operation, now=now, can_hold=True)

    async def _estimate(self, operation: operation_pb2.Operation, connection: str, role: str, statement: bytes) -> None:
        sql = operation.sql
        found = await self._describer.estimate(connection, role, statement, sql.search_path, sql.values.bound)
        if found.unknown or not found.HasField("estimate"):
            sql.values.estimate_unknown, sql.values.estimate_unknown_why = True, found.why
        else:
            sql.values.estimate.CopyFrom(found.estimate)

    async def _record(
        self, asker: Subject, session: Session, operation: operation_pb2.Operation, answered: Answered, now: datetime
    ) -> Explained:
        result = answered.result
        answer = Answer(
            time=now,
            outcome=result.outcome,
            code="POLICY_DENIED" if result.outcome is Outcome.DENY else "",
            reasons=result.reasons,
            obligations=result.obligations,
            revision=result.revision,
            operation=operation.id,
            budgets=budgets_used(answered.used),
        )
        body = {
            **session_body(session),
            "asker": who_body(asker),
            **values_body(operation),
            **answer_body(answer),
            "input": input_body(answered.document),
        }
        index = await self._recorder.append("question", body)
        shown = orjson.dumps(answered.document, option=orjson.OPT_INDENT_2).decode()
        return Explained(operation, replace(answer, record=index), shown)
