"""Which steps need what an earlier one makes. Such a step's meaning is settled right after that one (ADR 46)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twokey.type.v1 import operation_pb2

# Verbs that leave every definition as it was; whatever else there is may change what later statements mean.
_CHANGES: Final = frozenset({"sql.insert", "sql.update", "sql.delete", "sql.merge", "sql.truncate", "sql.copy-from"})
_DATA: Final = _CHANGES | {"sql.select", "sql.copy-to"}


def defines(operation: operation_pb2.Operation) -> bool:
    sql = operation.sql
    return not set(sql.verbs) <= _DATA or any("ddl" in use.access for use in sql.relations)


def after(steps: Sequence[operation_pb2.PlannedStep]) -> list[int]:
    """Of each step the one, counted from 1, whose work it needs; 0 for those that need none. What the planner says of a
    step stands where it names an earlier one that defines something."""
    found: list[int] = []
    defining: list[int] = []
    for number, step in enumerate(steps, start=1):
        needs = step.after if step.after in defining else 0
        if _unresolved(step.operation):
            needs = max([needs, *defining[-1:]])
        touched = _names(step.operation)
        met = [one for one in defining if not touched.isdisjoint(_defined(steps[one - 1].operation))]
        found.append(max([needs, *met]))
        if defines(step.operation):
            defining.append(number)
    return found


def _unresolved(operation: operation_pb2.Operation) -> bool:
    return any(reason.code == "unresolved" for reason in operation.sql.opaque_reasons)


def _names(operation: operation_pb2.Operation) -> frozenset[tuple[str, str]]:
    return frozenset((use.schema, use.name) for use in operation.sql.relations)


def _defined(operation: operation_pb2.Operation) -> frozenset[tuple[str, str]]:
    return frozenset((use.schema, use.name) for use in operation.sql.relations if "ddl" in use.access)
