"""Names, descriptions and decisions: everything between reading a statement and being allowed to send it.

Written as generators that yield commands, so that waiting reads like blocking code and is not; while one waits the
machine queues what the client sends, so nothing overtakes.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from hashlib import sha256

from twokey.type.v1 import operation_pb2

from enforcers.core.errors import DecisionUnavailableError
from enforcers.core.ports import Act, Answer, Bound, Hold, HoldEnd, HoldResult, Outcome, Question, Ruling
from enforcers.postgres import deny
from enforcers.postgres.commands import Ask, Begin, Command, EstimateRows, Redeem, Refresh, RowEstimate, Wait, Withdraw
from enforcers.postgres.description import Description, SessionNames, SyntaxProblem
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_duties import Dutiful
from enforcers.postgres.machine_lineage import typed_by_users
from enforcers.postgres.machine_private import needs_names
from enforcers.postgres.machine_state import RESERVED, Capture, Granted, Refused, Statement, Transaction
from enforcers.postgres.operations import bound_values, build, new_operation_id

NAMES_SQL = (
    "SELECT pg_catalog.current_database()::pg_catalog.text, pg_catalog.array_to_json("
    "pg_catalog.current_schemas(true))::pg_catalog.text, current_user::pg_catalog.text, "
    "session_user::pg_catalog.text"
)
ABORTED = "current transaction is aborted, commands ignored until end of transaction block"
_HOLD_HINT_WRITTEN = (
    "The transaction has written or holds locks, so it can't wait for a reviewer: "
    "roll back and send this statement first, or on its own."
)
_NOT_HELD = "the decision holds what can't be held here"
ALONE_HINT = "Send this statement on its own."
VIEW_TRIES = 3  # each is a round trip or two
_HOLD_ENDS = {
    HoldEnd.DENIED: (
        "APPROVAL_DENIED",
        "a reviewer denied this statement",
        "Ask the reviewer, or change the statement.",
    ),
    HoldEnd.EXPIRED: ("APPROVAL_EXPIRED", "nobody approved this statement in time", "Send it again to ask again."),
    HoldEnd.WITHDRAWN: ("WITHDRAWN", "canceling statement due to user request: the approval request is withdrawn", ""),
    HoldEnd.LOST: (
        "DECISION_UNAVAILABLE",
        "the decision service was lost while this statement waited; it did not run",
        "Send it again: an approval given meanwhile is found.",
    ),
}


class Asked:
    """One statement to decide: where it stands, and what is bound."""

    __slots__ = ("description", "formats", "holdable", "position", "statements", "transaction", "types", "values")

    def __init__(
        self,
        *,
        description: Description,
        transaction: Transaction,
        position: int = 0,
        statements: int = 1,
        values: tuple[bytes | None, ...] = (),
        formats: tuple[int, ...] = (),
        types: tuple[int, ...] = (),
        holdable: bool = True,
    ) -> None:
        self.description = description
        self.transaction = transaction
        self.position = position
        self.statements = statements
        self.values = values
        self.formats = formats
        self.types = types
        self.holdable = holdable


class Deciding(Dutiful):
    """Adds describing and deciding to the ground."""

    # Describing

    def describe(self, text: bytes) -> Sequence[Description] | SyntaxProblem:
        names = self.names
        if names is None:
            raise RuntimeError("described before the session's names were read")
        view = self.view if self.private and self.view_ready else None
        described = (view or self.describer).describe(text, names)
        if isinstance(described, SyntaxProblem):
            return described
        for description in described:
            if description.cursor or description.prepared:
                described = self.inherit(described)
                break
        if self.private and view is None:
            return [self.privately(d) if needs_names(d) else d for d in described]
        return described

    def described_now(self, text: bytes) -> Sequence[Description] | SyntaxProblem:
        if self.names is None:
            raise RuntimeError("described before the session's names were read")
        view = self.view if self.private and self.view_ready else None
        return (view or self.describer).describe(text, self.names)

    def ready_to_describe(self) -> bool:
        """The hot path's question: names known, catalog fresh."""
        return not self.names_stale and self.describer.fresh and self.view_ready

    def described(
        self, text: bytes
    ) -> Generator[Command | Internal, object, Sequence[Description] | SyntaxProblem | Refused]:
        """Describe under a fresh catalog and the session's real names, reading those again only where it matters.

        What isn't found is looked for again at once: it may have been made elsewhere within the last second.
        """
        if not self.describer.fresh:
            yield Refresh()
        described = yield from self._described(text)
        if isinstance(described, Sequence) and any(is_unresolved(d) for d in described):
            yield Refresh()
            described = yield from self._described(text)
        asked: set[str] = set()
        while isinstance(described, Sequence) and not self.transaction.failed and not self.skipping:
            name = self.unknown_prepared(described)
            if not name or name in asked or self.names is None:
                break
            asked.add(name)
            yield from self.look_up(name)
            described = yield from self._described(text)
        return described

    def described_statement(
        self, statement: Statement
    ) -> Generator[Command | Internal, object, Sequence[Description] | SyntaxProblem | Refused]:
        """A prepared statement with the types that the client named for its parameters."""
        described = yield from self.described(statement.text)
        if not statement.own_types or not isinstance(described, Sequence) or self.transaction.failed or self.skipping:
            return described
        known = yield from self.types_run_nothing(statement.types)
        return described if known else [typed_by_users(item) for item in described]

    def _described(
        self, text: bytes
    ) -> Generator[Command | Internal, object, Sequence[Description] | SyntaxProblem | Refused]:
        if self.names is not None:
            described = self.describe(text)
            if isinstance(described, SyntaxProblem) or (not self.names_stale and self.view_ready):
                return described
            if not any(needs_names(d) for d in described):
                return described
            # Names can't be asked now. What stands behind the transaction's end is opaque, under any names.
            if self.transaction.failed and not any(needs_names(d) and not _behind_a_change(d) for d in described):
                return described
        if self.transaction.failed:
            return Refused(deny.error("25P02", ABORTED), aborted=True)
        if self.names_stale or self.names is None:
            problem = yield from self.read_names()
            if problem is not None:
                return problem
        for _ in range(VIEW_TRIES):  # the shared catalog may have changed while the target answered
            if self.view_ready:
                break
            problem = yield from self.read_view()
            if problem is not None:
                return problem
        return self.describe(text)

    def read_names(self) -> Generator[Command | Internal, object, Refused | None]:
        """Ask the target how names resolve now. At a boundary in a transaction of its own, else inside the pipeline."""
        capture = self.question(NAMES_SQL, kept=bool(self.private))
        yield from self.answered(capture)
        names = read_names(capture)
        if names is None:
            self.kept.clear()
            return Refused(
                deny.coded("UPSTREAM_UNAVAILABLE", "the target did not say how names resolve in this session")
            )
        if names != self.names:
            self.names_version += 1
            self.names = names
        # Something opaque may have made them.
        self.temporary = self.temporary or any(schema.startswith("pg_temp_") for schema in names.search_path)
        self.names_stale = False
        return None

    # Deciding

    def lease(self, asked: Asked) -> tuple[bytes, Ruling | None]:
        key = self.keys.key(asked.description, asked.transaction, asked.position, asked.statements)
        # A lease's acts are recorded without the question, so without the reason.
        return key, None if self.reason.text else self.gate.leased(key)

    def act(self, asked: Asked, ruling: Ruling, *, operation: str = "", digest: bytes = b"") -> Act:
        bound = bound_values(asked.values, asked.formats, asked.types) if asked.values else ()
        return Act(
            operation=operation or new_operation_id(),
            ruling=ruling,
            digest=digest or self._digest(asked.description, bound),
            shape_digest=asked.description.shape_digest,
            statement=asked.description.text,
            bound=bound,
        )

    def decide(self, asked: Asked) -> Generator[Command | Internal, object, Granted | Refused]:
        """A decision and its recorded intent for one statement; holds where policy wants a reviewer."""
        refused = self.session_refusal() or refuse_reserved(asked.description)
        if refused is not None:
            return refused
        key, ruling = self.lease(asked)
        question: Question | None = None
        if ruling is None:
            question = self._question(asked, key)
            answer = yield from self._ask(asked, question)
            if isinstance(answer, Refused):
                return answer
            ruling = answer
        if ruling.answer is Answer.HELD and question is not None and ruling.hold is not None:
            ruling = yield from self._approved(asked, question, ruling.hold)
        if ruling.answer is not Answer.ALLOWED:
            return refused_by(ruling)
        if question is None:
            act = self.act(asked, ruling)
        else:
            act = self.act(asked, ruling, operation=question.operation.id, digest=question.operation.digest)
        if not self.gate.ready(act):
            refused = yield from self._begun(act)
            if refused is not None:
                return refused
            if ruling.leased and self.gate.leased(key) is None:
                # It ended while the record was on its way: what holds now is decided anew.
                self.gate.end(act, Outcome("not-executed", error="its lease ended; decided again"))
                return (yield from self.decide(asked))
        unmet = self.unmet_duty(asked.description, ruling.duties)
        if unmet:
            self.gate.end(act, Outcome(status="refused", error="not run: the gateway could not meet the decision"))
            return Refused(unmet)
        return Granted(ruling, act)

    def _begun(self, act: Act) -> Generator[Command | Internal, object, Refused | None]:
        """Until its intent is recorded as its decision wants it."""
        try:
            failure = yield Begin(act)
        except GeneratorExit:
            # The session ended meanwhile: an intent that is recorded must not look like an act that may have run.
            if act.record is not None:
                self.gate.end(act, Outcome("not-executed", error="the session ended before it began"))
            raise
        if not isinstance(failure, DecisionUnavailableError):
            return None
        why = f"the record of this act can't be written, so it did not run: {failure}"
        return Refused(deny.coded("RECORD_UNAVAILABLE", why))

    def session_refusal(self) -> Refused | None:
        ruling = self.gate.refusal()
        if ruling is None:
            return None
        return Refused(deny.refusal(ruling, severity="FATAL"), fatal=True)

    def _question(self, asked: Asked, key: bytes) -> Question:
        written = asked.transaction.written
        alone = asked.statements == 1
        bound = bound_values(asked.values, asked.formats, asked.types)
        operation = build(
            self.gate.connection,
            asked.description,
            operation_id=new_operation_id(),
            digest=self._digest(asked.description, bound),
            transaction=asked.transaction,
            read_only=self.gate.session_duties.read_only,
            position=asked.position,
            statements=asked.statements,
            bound=bound,
        )
        operation.reason = self.reason.text
        return Question(
            operation=operation,
            lease_key=None if self.reason.text else key,
            can_hold=alone and not written and not asked.transaction.failed and asked.holdable,
            hold_hint=_hold_hint(asked),
        )

    def _ask(self, asked: Asked, question: Question) -> Generator[Command | Internal, object, Ruling | Refused]:
        ruling = expect_ruling((yield Ask(question)))
        if ruling.answer is not Answer.NEEDS_ESTIMATE:
            return ruling
        estimate = RowEstimate(None, why=asked.description.cannot_estimate_why)
        if asked.description.known_rows is not None:
            estimate = RowEstimate(float(asked.description.known_rows))
        elif asked.description.estimated_here or (self.private and not self._seen_by_others(asked.description)):
            found = yield from self.estimate_here(
                asked.description,
                asked.transaction,
                values=asked.values,
                formats=asked.formats,
                types=asked.types,
            )
            if isinstance(found, Refused):
                return found
            estimate = found
        elif asked.description.can_estimate and self.names is not None:
            bound = tuple(question.operation.sql.values.bound)
            reply = yield EstimateRows(asked.description, shared_names(self.names), bound)
            if not isinstance(reply, RowEstimate):
                raise TypeError("EstimateRows was answered by something else")
            estimate = reply
        values = question.operation.sql.values
        if estimate.rows is None:
            values.estimate_unknown = True
            values.estimate_unknown_why = estimate.why or "the target could not estimate it"
        else:
            values.estimate.rows = estimate.rows
            values.estimate.cost = estimate.cost
        return expect_ruling((yield Ask(question)))

    def _seen_by_others(self, description: Description) -> bool:
        """It touches nothing that only this session sees, so that another connection plans it just the same. A new
        object of an open transaction may stand in front of another by its name; a temporary one would be described."""
        return not self.uncommitted and not any(use.temporary for use in description.template.relations)

    # Holding

    def _approved(self, asked: Asked, question: Question, hold: Hold) -> Generator[Command | Internal, object, Ruling]:
        """What came of a decision that names an approval. Where nothing can wait it was approved before it came."""
        if question.can_hold:
            return (yield from self._hold(asked, question, hold))
        if asked.statements != 1:
            return Ruling(answer=Answer.DENIED, decision="", code="POLICY_INVALID", message=_NOT_HELD)
        return expect_ruling((yield Redeem(question, hold)))

    def _hold(self, asked: Asked, question: Question, hold: Hold) -> Generator[Command | Internal, object, Ruling]:
        self.tell(deny.held(hold))
        self.waiting = True
        result = yield Wait(hold)
        self.waiting = False
        if not isinstance(result, HoldResult):
            raise TypeError("Wait was answered by something else")
        if result.end is HoldEnd.WITHDRAWN:
            yield Withdraw(hold, result.reason or "the client cancelled the statement")
        if result.end is not HoldEnd.APPROVED:
            code, text, hint = _HOLD_ENDS[result.end]
            if result.reason and result.end is HoldEnd.DENIED:
                text = f"{text}: {result.reason}"
            return Ruling(answer=Answer.DENIED, decision="", code=code, message=f"{text} ({hold.approval})", hint=hint)
        if self.skipping:
            yield Withdraw(hold, "an earlier message of the same pipeline failed")
            message = "an earlier message of the pipeline failed, so this statement did not run"
            return Ruling(answer=Answer.DENIED, decision="", code="POLICY_DENIED", message=message)
        changed = yield from self._redescribed(asked, question)
        if changed:
            return Ruling(
                answer=Answer.DENIED,
                decision="",
                code="APPROVAL_MISMATCH",
                message=f"what the statement means changed while it waited for {hold.approval}; it did not run",
                hint="Send it again to ask again.",
            )
        return expect_ruling((yield Redeem(question, hold)))

    def _redescribed(self, asked: Asked, question: Question) -> Generator[Command | Internal, object, bool]:
        """True when the act is no longer the one that was approved."""
        self.describer.invalidate()
        described = yield from self.described(asked.description.text)
        if isinstance(described, SyntaxProblem | Refused) or len(described) != 1:
            return True
        bound = bound_values(asked.values, asked.formats, asked.types)
        return self._digest(described[0], bound) != question.operation.digest

    def _digest(self, description: Description, bound: Sequence[Bound]) -> bytes:
        if self.names is None:
            raise RuntimeError("decided before the session's names were read")
        return self.digests.digest(description, self.names, bound)


def _hold_hint(asked: Asked) -> str:
    if asked.statements > 1:
        return ALONE_HINT
    if asked.transaction.written:
        return _HOLD_HINT_WRITTEN
    return "" if asked.holdable else "A function call message can't wait for a reviewer: use SELECT function(…)."


def in_order(described: Sequence[Description]) -> list[Description]:
    """The statements of one message; one that stands behind a change of names can't be described with certainty."""
    result: list[Description] = []
    changed = False
    for description in described:
        uncertain = changed and needs_names(description) and not description.template.opaque
        result.append(_uncertain(description) if uncertain else description)
        changed = changed or description.changes_names or description.ddl or description.template.opaque
    return result


def _uncertain(description: Description) -> Description:
    template = operation_pb2.SqlOperation()
    template.CopyFrom(description.template)
    template.opaque = True
    template.opaque_reasons.add(
        code="earlier-statement", detail="an earlier statement of the message may change what names mean"
    )
    shape = sha256(b"uncertain" + description.shape_digest).digest()
    return replace(description, template=template, shape_digest=shape, can_estimate=False, verification=None)


def shared_names(names: SessionNames) -> SessionNames:
    """The same without the session's temporary schema, which no other connection has."""
    path = tuple(schema for schema in names.search_path if not schema.startswith("pg_temp_"))
    return names if path == names.search_path else replace(names, search_path=path)


def expect_ruling(reply: object) -> Ruling:
    if not isinstance(reply, Ruling):
        raise TypeError("a question was answered by something that is no ruling")
    return reply


def refused_by(ruling: Ruling) -> Refused:
    """A denial; an answer the machine can't carry out (held twice, an estimate asked for again) is one too."""
    if ruling.answer is not Answer.DENIED:
        ruling = replace(
            ruling, answer=Answer.DENIED, code="POLICY_INVALID", message="policy gave no usable decision", rules=()
        )
    return Refused(deny.refusal(ruling))


def refuse_reserved(description: Description) -> Refused | None:
    """What no policy may allow: names of the gateway's own, and another reading of strings than the describer's."""
    if description.changes_grammar:
        return Refused(
            deny.coded(
                "NOT_SUPPORTED",
                "client_encoding, standard_conforming_strings and backslash_quote keep their values in this session",
            )
        )
    if description.own_setting:
        return Refused(
            deny.error(
                "42501",
                "settings below twokey. are the gateway's own",
                hint="SET twokey.reason is a statement of its own.",
            )
        )
    reserved = RESERVED.decode()
    if description.prepared.startswith(reserved) or description.cursor.startswith(reserved):
        return Refused(deny.coded("NOT_SUPPORTED", f"names that begin with {reserved} are the gateway's own"))
    return None


def _behind_a_change(description: Description) -> bool:
    return any(reason.code == "earlier-statement" for reason in description.template.opaque_reasons)


def is_unresolved(description: Description) -> bool:
    return any(reason.code == "unresolved" for reason in description.template.opaque_reasons)


def read_names(capture: Capture) -> SessionNames | None:
    """The answer to NAMES_SQL; None when it is not one."""
    if capture.error is not None or not capture.rows:
        return None
    return names_of([value.decode("utf-8", "replace") for value in capture.rows[0] if value is not None])


def names_of(row: Sequence[str]) -> SessionNames | None:
    """The four columns of NAMES_SQL; None when they are not."""
    if len(row) != 4:
        return None
    database, path, role, session_role = row
    return SessionNames(
        database=database, search_path=tuple(json.loads(path)), effective_role=role, session_role=session_role
    )
