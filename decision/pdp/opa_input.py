"""The question put to OPA: our own conversion, because protobuf's JSON form drops false, 0 and "".

The document is that of docs/architecture.md, "The question put to OPA". Every field is always present and numbers are
numbers, so a rule on `has_where == false` can't stay silent. `rego/schemas/input.json` describes the same document.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from twokey.type.v1 import operation_pb2

from decision.audit.record import MAX_INTEGER, timestamp
from decision.errors import BadRequestError
from decision.model import NO_LOGIN, Approval, Login, Party, Session, Subject, VerifiedToken
from decision.pdp.approval_input import (
    ApprovalContext,
    approval_document,
    login_document,
    requests_document,
)
from decision.pdp.plan_input import PlanContext, plan_document
from decision.ports import History, People, Requests, Used

VERSION = 1
MAX_REASON = 1000  # characters
Document = dict[str, object]

_EXCLUDED = {"twokey.type.v1.SqlOperation": frozenset({"values"})}


def message_document(message: Message) -> Document:
    """Every field of a message by its proto name: absent messages as their zero, bytes as hex, repeated as lists."""
    return _plan(message.DESCRIPTOR).document(message)


class _Plan:
    """How messages of one type are read: all fields at once, and then those changed that JSON would not take."""

    def __init__(self, descriptor: Descriptor) -> None:
        excluded = _EXCLUDED.get(descriptor.full_name, frozenset())
        fields = [field for field in descriptor.fields if field.name not in excluded]
        self._names = tuple(field.name for field in fields)
        self._values = attrgetter(*self._names, self._names[0])  # once more, so that it is a tuple also for one
        converters = ((field.name, _converter(field)) for field in fields)
        self._convert = tuple((name, convert) for name, convert in converters if convert is not None)

    def document(self, message: Message) -> Document:
        document: Document = dict(zip(self._names, self._values(message), strict=False))
        for name, convert in self._convert:
            document[name] = convert(document[name])
        return document


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    return _Plan(descriptor)


def _converter(field: FieldDescriptor) -> Callable[[Any], object] | None:
    """What makes a field's value JSON; None where it is already. By the descriptor its values are of that type."""
    one = _scalar(field)
    if not field.is_repeated:
        return one
    if one is None:
        return list
    return lambda values: [one(value) for value in values]


def _scalar(field: FieldDescriptor) -> Callable[[Any], object] | None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _plan(field.message_type).document
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex
    if field.type in _SETTLED:
        return None
    raise TypeError(f"{field.full_name}: no conversion is settled for this type")


# Texts, truth and numbers that are exact in JSON (RFC 8785). 64 bits, floats and enumerations would need a decision.
_SETTLED: Final = frozenset(
    {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_UINT32,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialContext:
    """What is asked for: a one-time password, or an SSH certificate. proved: with proof of the token's key. command:
    the only one that a certificate is to run; "" for any."""

    kind: str
    connection: str
    role: str
    uses: int
    proved: bool
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    now: datetime
    can_hold: bool = False
    approval: ApprovalContext | None = None
    sessions: Sequence[Session] = ()
    reason: str = ""  # the client's own words for why; an answer given to any is never leased
    history: History | None = None  # None: not looked up; policy asks for it where a duty depends on it
    budgets: Sequence[Used] | None = None  # None: not looked up; policy asks for them where something counts
    # Of the token: for `session` and, about credentials, `call`; never for operations, whose leases' keys hold neither.
    scopes: Sequence[str] = ()
    scoped: bool = False
    credential: CredentialContext | None = None
    enforcer: str = ""  # of the question `session`: which enforcer asks, where its certificate tells
    login: Login = NO_LOGIN  # of the questions `session` and `review`: how strong and fresh the subject's login is
    requests: Requests | None = None  # of the question `request`
    plan: PlanContext | None = None  # that the session carries


def operation_question(
    *,
    subject: Subject,
    session: Session,
    kind: str,
    operation: operation_pb2.Operation,
    context: Context,
    with_values: bool,
) -> Document:
    """`question: operation`: on the shape, or on the shape with its values. `kind` is the connection's."""
    sql = operation.sql
    return _question(
        question="operation",
        subject=subject,
        action={"name": action_name(sql.command), "verbs": list(sql.verbs)},
        resource=_connection(session.connection, kind, session.environment),
        operation=operation_document(operation),
        values=values_document(sql.values) if with_values else absent_values(),
        context=replace(context, reason=reason_of(operation)),
    )


def session_question(
    *, subject: Subject, connection: str, kind: str, environment: str, context: Context, action: str = "session.open"
) -> Document:
    return _question(
        question="session",
        subject=subject,
        action={"name": action, "verbs": []},
        resource=_connection(connection, kind, environment),
        operation=operation_document(None),
        values=absent_values(),
        context=context,
    )


def call_question(*, subject: Subject, rpc: str, context: Context, about: str = "") -> Document:
    """`rpc` is the full name: `twokey.approval.v1.ApprovalService/Approve`. `about`: whom the call is about, by the
    name in people.yaml, where that is somebody else."""
    return _question(
        question="call",
        subject=subject,
        action={"name": rpc, "verbs": []},
        resource={"type": "rpc", "id": rpc, "kind": "", "environment": "", "subject": about},
        operation=operation_document(None),
        values=absent_values(),
        context=context,
    )


def review_question(
    *,
    subject: Subject,
    kind: str,
    approval: Approval,
    operation: operation_pb2.Operation,
    context: Context,
    verdict: bool = True,
) -> Document:
    """`question: review`: may `subject` review this approval? Reviewers see values, so policy does.
    `verdict`: to answer it; else only to see it."""
    return _question(
        question="review",
        subject=subject,
        action={"name": "approval.review" if verdict else "approval.see", "verbs": []},
        resource=_connection(approval.connection, kind, approval.environment),
        operation=operation_document(operation),
        values=values_document(operation.sql.values),
        context=replace(context, reason=reason_of(operation)),
    )


def request_question(
    *, subject: Subject, session: Session, kind: str, operation: operation_pb2.Operation, context: Context
) -> Document:
    """`question: request`: may `subject` ask for one more approval? On the shape, as the question that it follows."""
    return _question(
        question="request",
        subject=subject,
        action={"name": "approval.request", "verbs": list(operation.sql.verbs)},
        resource=_connection(session.connection, kind, session.environment),
        operation=operation_document(operation),
        values=absent_values(),
        context=context,
    )


def read_question(*, subject: Subject, resource: Document, operation: Document, context: Context) -> Document:
    """`question: read`: what of such a statement may `subject` read? `operation` is as in another question."""
    return _question(
        question="read",
        subject=subject,
        action={"name": "statement.read", "verbs": []},
        resource=resource,
        operation=operation,
        values=absent_values(),
        context=context,
    )


def reason_of(operation: operation_pb2.Operation) -> str:
    """Why the client says it does this; "" where it says nothing. Raises BadRequestError for more than it may be."""
    if len(operation.reason) > MAX_REASON:
        raise BadRequestError(f"a reason has at most {MAX_REASON} characters")
    return operation.reason


def _question(
    *,
    question: str,
    subject: Subject,
    action: Document,
    resource: Document,
    operation: Document,
    values: Document,
    context: Context,
) -> Document:
    return {
        "version": VERSION,
        "question": question,
        "subject": subject_document(subject),
        "action": action,
        "resource": resource,
        "operation": operation,
        "values": values,
        "context": context_document(context),
    }


def action_name(command: str) -> str:
    """`sql.` and PostgreSQL's command tag: `sql.select`, `sql.create-table`."""
    return "sql." + command.lower().replace(" ", "-")


def _connection(name: str, kind: str, environment: str) -> Document:
    return {"type": "connection", "id": name, "kind": kind, "environment": environment, "subject": ""}


@lru_cache(4096)
def subject_document(subject: Subject) -> Document:
    """Shared by whoever asks for the same subject's: not to be changed."""
    party = subject.party
    return {
        **_party(party),
        "groups": list(party.groups),
        "roles": list(subject.roles),
        "role": subject.role,
        "actors": [_party(actor) for actor in subject.actors],
        "closure": list(subject.closure),
        "acting_closure": list(subject.acting_closure),
    }


def _party(party: Party) -> Document:
    return {
        "iss": party.identity.iss,
        "sub": party.identity.sub,
        "name": party.name,
        "kind": party.kind,
        "owner": party.owner,
    }


_NO_SQL = operation_pb2.SqlOperation()


def operation_document(operation: operation_pb2.Operation | None) -> Document:
    """The described operation without its values; all zero where the question has none."""
    if operation is None:
        return {"kind": "", "id": "", "digest": "", "shape_digest": "", "sql": message_document(_NO_SQL)}
    kind = operation.WhichOneof("kind")
    if kind not in {"sql", "plan"}:
        raise BadRequestError("this kind of operation is not decided yet", code="NOT_SUPPORTED")
    return {
        "kind": kind,  # a plan is reviewed as a whole; its steps are asked about one by one
        "id": operation.id,
        "digest": operation.digest.hex(),
        "shape_digest": operation.shape_digest.hex(),
        "sql": message_document(operation.sql),
    }


def absent_values() -> Document:
    return {
        "present": False,
        "statement": "",
        "bound": [],
        "estimate": {"state": "absent", "rows": 0, "cost": 0, "why": ""},
    }


def values_document(values: operation_pb2.SqlValues) -> Document:
    return {
        "present": True,
        "statement": values.statement.decode("utf-8", "replace"),
        "bound": [
            {"type_oid": bound.type_oid, "is_null": bound.is_null, "text": bound_text(bound)} for bound in values.bound
        ],
        "estimate": estimate_document(values),
    }


def statement_replaced(values: operation_pb2.SqlValues) -> bool:
    """True when the statement isn't UTF-8, so that policy sees replacement characters; the record says so."""
    try:
        values.statement.decode()
    except UnicodeDecodeError:
        return True
    return False


def bound_text(bound: operation_pb2.BoundValue) -> str:
    """The text of a text-format UTF-8 value, else its bytes in base64; "" for NULL."""
    if bound.is_null:
        return ""
    if not bound.binary:
        try:
            return bound.value.decode()
        except UnicodeDecodeError:
            pass
    return b64encode(bound.value).decode("ascii")


def estimate_document(values: operation_pb2.SqlValues) -> Document:
    """Rows and cost rounded up to whole numbers (records hold no floats). What isn't a count is unknown."""
    if values.estimate_unknown:
        return _unknown(values.estimate_unknown_why)
    if not values.HasField("estimate"):
        return {"state": "absent", "rows": 0, "cost": 0, "why": ""}
    rows, cost = values.estimate.rows, values.estimate.cost
    if not all(math.isfinite(number) and 0 <= number < MAX_INTEGER for number in (rows, cost)):
        return _unknown("the planner's estimate is out of range")
    return {"state": "known", "rows": math.ceil(rows), "cost": math.ceil(cost), "why": ""}


def _unknown(why: str) -> Document:
    return {"state": "unknown", "rows": 0, "cost": 0, "why": why}


def context_document(context: Context) -> Document:
    now = context.now.astimezone(UTC)
    return {
        "time": timestamp(now),
        "time_ns": time_ns(now),
        "can_hold": context.can_hold,
        "approval": approval_document(context.approval, now),
        "sessions": [
            {"role": one.subject.role, "connection": one.connection, "closure": list(one.subject.closure)}
            for one in context.sessions
        ],
        "reason": context.reason,
        "budgets": _budgets(context.budgets),
        "scopes": list(context.scopes),
        "scoped": context.scoped,
        "credential": _credential(context.credential),
        "enforcer": context.enforcer,
        "history": _history(context.history),
        "authentication": login_document(context.login, now),
        "requests": requests_document(context.requests),
        "plan": plan_document(context.plan),
    }


_NO_HISTORY: Final[Document] = {"present": False, "acts": []}


def _history(history: History | None) -> Document:
    if history is None:
        return _NO_HISTORY
    return {
        "present": True,
        "acts": [
            {
                "element": one.element,
                "act": one.act,
                "object": one.object,
                "connection": one.connection,
                "age_s": one.age_s,
            }
            for one in history.acts
        ],
    }


def _budgets(used: Sequence[Used] | None) -> Document:
    return {
        "present": used is not None,
        "used": [{"name": one.budget.name, "free_in": list(one.free_in)} for one in used or ()],
    }


_NO_CREDENTIAL: Final = CredentialContext(kind="", connection="", role="", uses=0, proved=False, command="")


def _credential(wanted: CredentialContext | None) -> Document:
    return {"present": wanted is not None, **asdict(wanted or _NO_CREDENTIAL)}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_ns(moment: datetime) -> int:
    """Nanoseconds since 1970, of a time with microseconds, without a float between."""
    delta = moment - _EPOCH
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def approval_context(approval: Approval, people: People, revoked: frozenset[int] = frozenset()) -> ApprovalContext:
    """An approval's people joined again under the live people.yaml."""
    return ApprovalContext(
        id=approval.id,
        requester=rejoin(approval.requester, people),
        verdicts=tuple((rejoin(one.reviewer, people), one.approve, one.time) for one in approval.verdicts),
        groups=approval.groups,
        quorum=approval.quorum,
        rules=tuple(dict.fromkeys(reason.rule for reason in approval.reasons)),
        revoked=revoked,
    )


@lru_cache(4096)
def rejoin(subject: Subject, people: People) -> Subject:
    """The same identities under another people.yaml. What the two disagree on only adds to the closure: someone who
    was linked when the act was asked for doesn't become a stranger to it by an edit."""
    facts = VerifiedToken(
        identity=subject.party.identity,
        actors=tuple(actor.identity for actor in subject.actors),
        roles=subject.roles,
        expires=datetime.max.replace(tzinfo=UTC),
        token_id=subject.token_id,
        dev=subject.dev,
        keys=subject.keys,
    )
    live = people.subject(facts, role=subject.role)
    return replace(
        live,
        closure=tuple(sorted({*live.closure, *subject.closure})),
        acting_closure=tuple(sorted({*live.acting_closure, *subject.acting_closure})),
    )


def recorded(document: Mapping[str, object]) -> Document:
    """The question as it goes into a record: without `context.time_ns`, which is `context.time` again and too large
    for canonical JSON. `restored` puts it back."""
    context = document["context"]
    if not isinstance(context, dict):
        raise TypeError("a question has a context")
    return {**document, "context": {key: value for key, value in context.items() if key != "time_ns"}}


def restored(document: Mapping[str, object]) -> Document:
    """The question that was asked, from its record: to ask a later policy."""
    context = document["context"]
    if not isinstance(context, dict):
        raise TypeError("a question has a context")
    moment = datetime.fromisoformat(str(context["time"]))
    return {**document, "context": {**context, "time_ns": time_ns(moment)}}
