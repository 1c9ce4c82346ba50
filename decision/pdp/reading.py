"""Who may read which values in statements: policy's question `read`, and what then is left of a record or an approval.

A constant that was compared with a classified column, or stored in one, carries its label. Which labels a reader may
see is Rego's to say (rego/masking/reading.rego); here what it says is carried out. Records stay as they were written;
what is hidden is hidden from the copy that this reader gets, with the labels and the SHA-256 of each statement beside
it. What can't be judged, for whatever reason, is hidden as a whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache
from twokey.type.v1 import operation_pb2

from decision import redaction
from decision.errors import DecisionError
from decision.model import Approval, Outcome, PolicyResult, Subject
from decision.pdp import opa_input
from decision.pdp.questions import Questions
from decision.ports import Clock

JSONObject = dict[str, object]
ColumnKey = tuple[str, str, str]

_MAX_KNOWN: Final = 4096
_ALL: Final = "hidden"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What of a statement is hidden from a reader: nothing, all, or what carries the labels of these columns."""

    everything: bool = False
    labels: Mapping[ColumnKey, frozenset[str]] | None = None

    @property
    def clear(self) -> bool:
        return not self.everything and not self.labels

    @property
    def names(self) -> list[str]:
        """Every label that is hidden."""
        return sorted({label for some in (self.labels or {}).values() for label in some}) or [_ALL]


CLEAR: Final = Ruling()
HIDDEN: Final = Ruling(everything=True)


class Reading:
    """Asks policy, once for each kind of statement and reader, and redacts."""

    def __init__(self, *, questions: Questions, clock: Clock, kinds: Mapping[str, str]) -> None:
        self._questions = questions
        self._clock = clock
        self._kinds = kinds
        self._known: LRUCache[tuple[object, ...], Ruling] = LRUCache(_MAX_KNOWN)

    async def ruling(self, reader: Subject, *, connection: str, environment: str, operation: JSONObject) -> Ruling:
        """`operation`: as in a question to policy. Never raises DecisionError: what isn't answered is hidden."""
        shape = operation.get("shape_digest")
        revision = self._questions.engine.revision
        key = (revision, reader.roles, connection, environment, shape, _opaque(operation))
        known = self._known.get(key)
        if known is not None:
            return known
        resource: JSONObject = {
            "type": "connection",
            "id": connection,
            "kind": self._kinds.get(connection, ""),
            "environment": environment,
            "subject": "",
        }
        document = opa_input.read_question(
            subject=reader, resource=resource, operation=operation, context=opa_input.Context(now=self._clock.now())
        )
        try:
            result = await self._questions.ask(document)
        except DecisionError:
            return HIDDEN
        found = _ruling(result)
        if result.revision == revision:
            self._known[key] = found
        return found

    async def approval(self, reader: Subject, approval: Approval) -> operation_pb2.Operation:
        """The held operation as this reader may see it."""
        operation = operation_pb2.Operation.FromString(approval.operation)
        if operation.WhichOneof("kind") == "plan":
            where = {"connection": approval.connection, "environment": approval.environment}
            operation.plan.CopyFrom(await self.plan(reader, operation.plan, **where))
            return operation
        ruling = await self.ruling(
            reader,
            connection=approval.connection,
            environment=approval.environment,
            operation=opa_input.operation_document(operation),
        )
        if not ruling.clear:
            _redact_values(operation.sql, ruling)
        return operation

    async def plan(
        self, reader: Subject, body: operation_pb2.PlanOperation, *, connection: str, environment: str
    ) -> operation_pb2.PlanOperation:
        """A plan as this reader may see it: each step by itself. Where anything of a step is hidden, so are the values
        that its parameters may have."""
        found = operation_pb2.PlanOperation()
        found.CopyFrom(body)
        for step in found.steps:
            ruling = await self.ruling(
                reader,
                connection=connection,
                environment=environment,
                operation=opa_input.operation_document(step.operation),
            )
            if ruling.clear:
                continue
            _redact_values(step.operation.sql, ruling)
            for rule in step.values:
                rule.Clear()
                rule.one_of.append(redaction.mark(ruling.names))
        return found

    async def record(self, reader: Subject, record: JSONObject, described: JSONObject | None) -> JSONObject:
        """A record as this reader may see it; the very object where nothing is hidden. `described`: the `input` of the
        decision that describes it, where that is another record."""
        if record.get("kind") == "plan" and "body" in record:
            return await self._plan_record(reader, record)
        told = _mapping(described) or _mapping(record.get("input"))
        operation = _mapping(_mapping(told).get("operation")) or _unknown()
        resource = _mapping(told.get("resource"))
        if not _holds_values(record):
            return record
        ruling = await self.ruling(
            reader,
            connection=str(resource.get("id") or record.get("connection") or ""),
            environment=str(resource.get("environment") or record.get("environment") or ""),
            operation=dict(operation),
        )
        if not told and not record.get("connection"):
            ruling = HIDDEN  # nobody can say on which connection it ran
        return record if ruling.clear else _redacted(record, operation, ruling)

    async def _plan_record(self, reader: Subject, record: JSONObject) -> JSONObject:
        raw = _bytes(record["body"])
        body = operation_pb2.PlanOperation.FromString(raw)
        where = {"connection": str(record.get("connection")), "environment": str(record.get("environment"))}
        shown = (await self.plan(reader, body, **where)).SerializeToString(deterministic=True)
        if shown == raw:
            return record
        return {**record, "body": _base64(shown), "body_sha256": hashlib.sha256(raw).hexdigest(), "redacted": [_ALL]}


def _unknown() -> JSONObject:
    """An operation that nobody has described: as one that can't be seen through."""
    operation = opa_input.operation_document(operation_pb2.Operation(sql=operation_pb2.SqlOperation(opaque=True)))
    return {**operation, "shape_digest": "unknown"}


def _opaque(operation: Mapping[str, object]) -> object:
    return _mapping(operation.get("sql")).get("opaque")


def _ruling(result: PolicyResult) -> Ruling:
    if result.outcome is Outcome.ALLOW and not result.needs:
        return CLEAR
    if result.outcome is not Outcome.MASK_COLUMNS:
        return HIDDEN
    labels: dict[ColumnKey, set[str]] = {}
    for obligation in result.obligations:
        if obligation.type != "mask-columns":
            return HIDDEN
        for column in _items(obligation.parameters.get("columns")):
            key = (str(column["schema"]), str(column["relation"]), str(column["column"]))
            labels.setdefault(key, set()).add(str(column["label"]))
    return Ruling(labels={key: frozenset(found) for key, found in labels.items()}) if labels else HIDDEN


@dataclass(frozen=True, slots=True)
class _Literals:
    """Labels of constants and of parameters by their numbers, and of all that nothing is known about."""

    constants: Mapping[int, frozenset[str]]
    parameters: Mapping[int, frozenset[str]]
    others: frozenset[str]


def _literals(literals: Sequence[Mapping[str, object]], ruling: Ruling) -> _Literals:
    labels = ruling.labels or {}
    constants: dict[int, frozenset[str]] = {}
    parameters: dict[int, frozenset[str]] = {}
    for literal in literals:
        found = frozenset(
            label
            for column in _items(literal.get("columns"))
            for label in labels.get(
                (str(column.get("schema")), str(column.get("relation")), str(column.get("column"))), ()
            )
        )
        for key, into in (("constant", constants), ("parameter", parameters)):
            number = literal.get(key)
            if isinstance(number, int) and number:
                into[number] = into.get(number, frozenset()) | found
    return _Literals(constants, parameters, frozenset(ruling.names))


def _redact_values(sql: operation_pb2.SqlOperation, ruling: Ruling) -> None:
    document = opa_input.message_document(sql)
    literals = _literals(_items(document.get("literals")), ruling)
    values = sql.values
    values.redacted.extend(ruling.names)
    values.statement_sha256 = hashlib.sha256(values.statement).digest()
    values.statement = _text(values.statement, literals, ruling)
    if values.named:
        values.named = redaction.statement(values.named, None if ruling.everything else {}, literals.others)
    for number, bound in enumerate(values.bound, start=1):
        labels = literals.parameters.get(number, literals.others)
        if labels:
            bound.value, bound.binary, bound.is_null = redaction.mark(labels).encode(), False, False
    if values.estimate_unknown_why:
        values.estimate_unknown_why = redaction.mark(literals.others)


def _text(text: bytes, literals: _Literals, ruling: Ruling) -> bytes:
    return redaction.statement(text, None if ruling.everything else literals.constants, literals.others)


def _redacted(record: JSONObject, operation: Mapping[str, object], ruling: Ruling) -> JSONObject:
    literals = _literals(_items(_mapping(operation.get("sql")).get("literals")), ruling)
    found = {**record, "redacted": ruling.names}
    found.update(_redacted_body(record, literals, ruling))
    intent = record.get("intent")
    if isinstance(intent, dict):
        found["intent"] = {**intent, **_redacted_body(intent, literals, ruling)}
    told = record.get("input")
    if isinstance(told, dict):
        found["input"] = {**told, "values": _redacted_input(_mapping(told.get("values")), literals, ruling)}
    return found


def _redacted_body(body: JSONObject, literals: _Literals, ruling: Ruling) -> JSONObject:
    """`statement` and `bound` of a record or of a leased act's intent."""
    found: JSONObject = {}
    if "statement" in body:
        text = _bytes(body["statement"])
        found["statement"] = _base64(_text(text, literals, ruling))
        found["statement_sha256"] = hashlib.sha256(text).hexdigest()
    if "bound" in body:
        found["bound"] = [
            {**value, "value": _base64(redaction.mark(labels).encode()), "binary": False, "is_null": False}
            if (labels := literals.parameters.get(number, literals.others))
            else value
            for number, value in enumerate(_items(body["bound"]), start=1)
        ]
    return found


def _redacted_input(values: Mapping[str, object], literals: _Literals, ruling: Ruling) -> JSONObject:
    if not values.get("present"):
        return dict(values)
    estimate = dict(_mapping(values.get("estimate")))
    if estimate.get("why"):
        estimate["why"] = redaction.mark(literals.others)
    return {
        **values,
        "statement": _text(str(values.get("statement", "")).encode(), literals, ruling).decode(),
        "bound": [
            {**value, "text": redaction.mark(labels), "is_null": False}
            if (labels := literals.parameters.get(number, literals.others))
            else value
            for number, value in enumerate(_items(values.get("bound")), start=1)
        ],
        "estimate": estimate,
    }


def _holds_values(record: Mapping[str, object]) -> bool:
    intent = _mapping(record.get("intent"))
    values = _mapping(_mapping(record.get("input")).get("values"))
    return bool(record.get("statement") or record.get("bound") or intent or values.get("present"))


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[Mapping[str, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
