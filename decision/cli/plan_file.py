"""A plan as its author writes it (docs/plans.md), and the message that is proposed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from google.protobuf import timestamp_pb2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from twokey.plan.v1 import plan_pb2
from twokey.type.v1 import operation_pb2

from decision.cli import located

_SPAN: Final = re.compile(r"(\d{1,6})(s|m|h|d)\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Scalar: TypeAlias = str | int | float | bool | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Values(_Strict):
    """What one parameter may be."""

    one_of: list[Scalar] = []
    least: int | float | str | None = None
    most: int | float | str | None = None
    null: bool = False


def _values(value: object) -> object:
    """`7`, `[7, 8]` and `{least: 1, most: 9}` are all a parameter's values."""
    if isinstance(value, dict):
        return value
    return {"one_of": value if isinstance(value, list) else [value]}


class Rows(_Strict):
    least: int | None = Field(default=None, ge=0)
    most: int | None = Field(default=None, ge=0)


def _rows(value: object) -> object:
    """`3` is exactly three."""
    return {"least": value, "most": value} if isinstance(value, int) else value


class Step(_Strict):
    sql: str = Field(min_length=1)
    values: list[Annotated[Values, BeforeValidator(_values)]] = []
    rows: Annotated[Rows, BeforeValidator(_rows)] = Rows()
    after: int = Field(default=0, ge=0)


class PlanFile(_Strict):
    connection: str = Field(min_length=1)
    executor: str = Field(min_length=1)
    role: str = Field(default="executor", min_length=1)
    intent: str = Field(min_length=1)
    not_before: str | None = None
    expires: str = "24h"
    steps: list[Step] = Field(min_length=1)


def read(path: Path, text: str | None = None) -> plan_pb2.Plan:
    """The file as a message; `text`: instead of what it holds. Raises ConfigError: each fault, its line, a fix."""
    shown = str(path)
    document = located.load(path, shown) if text is None else located.parse(text, shown)
    return message(located.check(PlanFile, document), document)


def message(plan: PlanFile, document: located.Located) -> plan_pb2.Plan:
    body = operation_pb2.PlanOperation(intent=plan.intent, role=plan.role, executor=plan.executor)
    for step in plan.steps:
        one = body.steps.add(after=step.after, values=[_rule(value) for value in step.values])
        one.operation.sql.values.statement = step.sql.strip().encode()
        if step.rows.least is not None:
            one.rows_least = step.rows.least
        if step.rows.most is not None:
            one.rows_most = step.rows.most
    body.expires.CopyFrom(_moment(plan.expires, "expires", document))
    if plan.not_before is not None:
        body.not_before.CopyFrom(_moment(plan.not_before, "not_before", document))
    return plan_pb2.Plan(connection=plan.connection, body=body)


def _rule(values: Values) -> operation_pb2.ValueRule:
    rule = operation_pb2.ValueRule(null=values.null or None in values.one_of)
    for value in values.one_of:
        rule.one_of.extend(_spelt(value))
    if values.least is not None:
        rule.least = str(values.least)
    if values.most is not None:
        rule.most = str(values.most)
    return rule


def _spelt(value: Scalar) -> list[str]:
    """As PostgreSQL prints it: a truth has two spellings, one in text and one as binary values are shown."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["t", "true"] if value else ["f", "false"]
    return [str(value)]


def _moment(text: str, key: str, document: located.Located) -> timestamp_pb2.Timestamp:
    """`2h` from now, or a time as RFC 3339 has it. Raises ConfigError."""
    span = _SPAN.match(text)
    if span is not None:
        found: datetime | None = datetime.now(UTC) + timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = None
    if found is None or found.tzinfo is None:
        raise located.fault(document, (key,), "is no time", "write 2h, 1d, or 2026-12-01T08:00:00Z")
    moment = timestamp_pb2.Timestamp()
    moment.FromDatetime(found.astimezone(UTC))
    return moment
