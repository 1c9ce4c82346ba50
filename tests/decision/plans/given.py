"""Plans, executions and operations for these tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from twokey.type.v1 import operation_pb2

from decision.model import IdentityKey, Party, Subject
from decision.plans.model import Execution, ExecutionState, Plan

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHAPE = b"s" * 32


def subject(name: str, owner: str = "", *, role: str = "", keys: tuple[str, ...] = ()) -> Subject:
    party = Party(
        identity=IdentityKey("https://idp.example.com", name),
        name=name,
        kind="agent" if owner else "person",
        owner=owner,
        groups=(),
    )
    closure = tuple(sorted(filter(None, (name, owner))))
    return Subject(
        party=party,
        actors=(),
        roles=(role,) if role else (),
        role=role,
        closure=closure,
        acting_closure=closure,
        token_id="jti",
        dev=False,
        keys=keys,
    )


PLANNER = subject("planner-3", "carol", role="planner")
EXECUTOR = subject("executor-7", "alice", role="executor")


def operation(
    text: str,
    *,
    verbs: Sequence[str] = ("sql.update",),
    tables: Sequence[tuple[str, str]] = (),
    unresolved: bool = False,
    shape: bytes = SHAPE,
) -> operation_pb2.Operation:
    """`tables`: name and access."""
    made = operation_pb2.Operation(connection="company", digest=b"d" * 32, shape_digest=shape)
    made.sql.verbs.extend(verbs)
    made.sql.statements = 1
    made.sql.values.statement = text.encode()
    for name, access in tables:
        made.sql.relations.add(schema="public", name=name, access=[access])
    if unresolved:
        made.sql.opaque_reasons.add(code="unresolved", detail="relation")
    return made


def step(text: str, *values: operation_pb2.ValueRule, after: int = 0, **more: object) -> operation_pb2.PlannedStep:
    made = operation_pb2.PlannedStep(values=values, after=after)
    made.operation.CopyFrom(operation(text, **more))  # type: ignore[arg-type]  # operation's own
    return made


def plan(*steps: operation_pb2.PlannedStep, approval: str = "", expires_s: float = 3600) -> Plan:
    body = operation_pb2.PlanOperation(
        id="pln_1", intent="tidy up", role="executor", executor="executor-7", steps=steps
    )
    return Plan(
        id="pln_1",
        requester=PLANNER,
        connection="company",
        environment="production",
        body=body,
        digest=b"p" * 32,
        created=NOW,
        not_before=None,
        expires=NOW + timedelta(seconds=expires_s),
        approval=approval,
    )


def execution(steps: int = 3, *, settled: int | None = None) -> Execution:
    """The first `settled` steps (all of them) wait for nothing."""
    number = steps if settled is None else settled
    return Execution(
        id="exe_1",
        plan="pln_1",
        executor=EXECUTOR,
        state=ExecutionState.RUNNING,
        steps=steps,
        next=1,
        shapes=dict.fromkeys(range(1, number + 1), SHAPE),
        started=NOW,
    )
