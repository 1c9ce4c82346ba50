"""What a conversation is judged against: a policy that reads a statement's words, a gate that counts, a describer.

The words mean: `deny` is denied, `held` needs a reviewer, `leased` is leased, `limited` may give two rows, `masked` has
its column masked, `bytes`, `duration`, `readonly` and `timeout` are limits, `verified` is compared with the target
before it runs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from twokey.type.v1 import operation_pb2

from enforcers.core.ports import (
    Act,
    Answer,
    Begun,
    Decided,
    Duties,
    Hold,
    HoldResult,
    MaskedColumn,
    Outcome,
    Question,
    Ruling,
)
from enforcers.postgres.description import Control, Description, SessionNames, SyntaxProblem, Verification
from enforcers.postgres.taint import Taint
from tests.fuzz.target import VERIFY, VERIFY_FUNCTIONS, Key, broken, rows_of, split

COLUMN = MaskedColumn(schema="public", relation="t", column="c", label="name", masker="fixed", text="***")
_DENY = Ruling(answer=Answer.DENIED, decision="dec_deny", code="POLICY_DENIED", message="no")
_HOLD = Hold(approval="apr_1", groups=("dba",), quorum=1, expires="2026-01-01T00:00:00.000000Z")
_ESTIMATE = Ruling(answer=Answer.NEEDS_ESTIMATE, decision="dec_estimate")


def words(text: bytes) -> list[str]:
    return text.decode("utf-8", "replace").lower().split()


def duties_of(text: bytes) -> Duties:
    found = words(text)
    return Duties(
        mask=(COLUMN,) if "masked" in found else (),
        max_rows=2 if "limited" in found else None,
        max_bytes=24 if "bytes" in found else None,
        max_duration_ms=1000 if "duration" in found else None,
        read_only="readonly" in found,
        statement_timeout_ms=1000 if "timeout" in found else None,
    )


def ruling_of(question: Question) -> Ruling:
    """What policy says. A hold where none is possible is a denial, as the core has it."""
    text = question.operation.sql.values.statement
    found = words(text)
    values = question.operation.sql.values
    if "deny" in found:
        return _DENY
    if "estimate" in found and not (values.HasField("estimate") or values.estimate_unknown):
        return _ESTIMATE
    if "held" in found:
        return Ruling(answer=Answer.HELD, decision="dec_held", hold=_HOLD) if question.can_hold else _DENY
    return Ruling(answer=Answer.ALLOWED, decision="dec_allow", duties=duties_of(text))


def key_of(act: Act) -> Key:
    return act.statement, tuple(None if value.is_null else value.value for value in act.bound)


class CountingGate:
    """Implements ports.Gate for the machine: counts what was granted and how it ended."""

    session = "ses_1"
    role = "executor"
    subject = "executor-7"
    connection = "crm"
    session_duties = Duties()
    revision = "rev_1"

    def __init__(self) -> None:
        self.granted: Counter[Key] = Counter()
        self.open: dict[str, Key] = {}  # operation: granted, no outcome yet
        self.outcomes: list[tuple[Key, Outcome]] = []
        self.refused: Ruling | None = None
        self.room = True
        self._leases: dict[bytes, Ruling] = {}

    def refusal(self) -> Ruling | None:
        return self.refused

    def leased(self, key: bytes) -> Ruling | None:
        return self._leases.get(key)

    def drop_leases(self, reason: str) -> None:
        self._leases.clear()

    def granted_by(self, question: Question, ruling: Ruling) -> Ruling:
        """A decision was given: what it allows is granted, once."""
        if ruling.answer is Answer.ALLOWED:
            sql = question.operation.sql.values
            key = (sql.statement, tuple(None if value.is_null else value.value for value in sql.bound))
            self._grant(question.operation.id, key)
            if "leased" in words(sql.statement) and question.lease_key is not None:
                self._leases[question.lease_key] = replace(ruling, leased=True)
        return ruling

    def _grant(self, operation: str, key: Key) -> None:
        if operation in self.open:
            raise AssertionError("the same operation was granted twice")
        self.granted[key] += 1
        self.open[operation] = key

    def ready(self, act: Act) -> bool:
        if not act.ruling.leased:
            return True
        if self.room:
            self.begin_now(act)
        return self.room

    def begin_now(self, act: Act) -> None:
        if act.ruling.leased and act.operation not in self.open:
            self._grant(act.operation, key_of(act))

    def end(self, act: Act, outcome: Outcome) -> None:
        key = self.open.pop(act.operation, None)
        if key is None:
            raise AssertionError(f"an outcome without an act, or a second one: {outcome.status} of {act.statement!r}")
        self.outcomes.append((key, outcome))

    async def ask(self, question: Question) -> Ruling:
        raise NotImplementedError

    async def wait(self, hold: Hold) -> HoldResult:
        raise NotImplementedError

    async def withdraw(self, hold: Hold, reason: str) -> None:
        raise NotImplementedError

    async def redeem(self, question: Question, hold: Hold) -> Ruling:
        raise NotImplementedError

    def ask_soon(self, question: Question, done: Decided) -> bool:
        return False

    def begin_soon(self, act: Act, done: Begun) -> bool:
        return False

    async def begin(self, act: Act) -> None:
        raise NotImplementedError

    async def close(self, reason: str) -> None:
        raise NotImplementedError


_CONTROL = {
    "begin": Control.BEGIN,
    "commit": Control.COMMIT,
    "rollback": Control.ROLLBACK,
    "savepoint": Control.SAVEPOINT,
}
_WRITES = frozenset({"insert", "update", "delete", "create", "drop", "copy"})


class WordReading:
    """One question; then the view is the describer itself."""

    def __init__(self, describer: WordDescriber) -> None:
        self._describer = describer
        self.questions: tuple[tuple[str, tuple[str, ...]], ...] = (("SELECT 'pg_catalog.pg_class'", ()),)
        self.view: WordDescriber | None = None

    def answered(self, answers: Sequence[Sequence[Sequence[str | None]]]) -> None:
        self.questions, self.view = (), self._describer


class WordDescriber:
    """Describes the model's statements. Implements describing.Describer."""

    def __init__(self) -> None:
        self.version = 1
        self.fresh = True

    def invalidate(self) -> None:
        self.version += 1
        self.fresh = False

    def private(self, names: SessionNames, taint: Taint, *, settled: bool) -> WordReading:
        return WordReading(self)

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        parts = split(message)
        if any(broken(part) for part in parts):
            return SyntaxProblem("the model's syntax", 1)
        return [self._one(part) for part in parts]

    def _one(self, text: bytes) -> Description:
        return _description(text)


@lru_cache(10_000)
def _description(text: bytes) -> Description:
    said = words(text)
    first = said[0]
    control = _CONTROL.get(first, Control.NONE)
    if first == "rollback" and "to" in said:
        control = Control.ROLLBACK_TO
    if said[:2] == ["set", "transaction"]:
        control = Control.SET_TRANSACTION
    template = operation_pb2.SqlOperation(command=first.upper(), verbs=[first])
    if control is Control.NONE and first not in {"set", "show"}:
        template.relations.add(schema="public", name="t", oid=1, kind="table", access=["read"])
    if first in {"set", "show"} and len(said) > 1:
        template.settings.add(name=said[1], action=first)
    template.returns_rows = rows_of(text) is not None
    template.opaque = first == "do"
    wire: tuple[tuple[int, int], ...] = ()
    if "masked" in said:
        output = template.output.add(name="c")
        output.origin.schema, output.origin.relation, output.origin.column = "public", "t", "c"
        output.origin.relation_oid, output.origin.attribute = 1, 1
        wire = ((1, 1),)
    verification = None
    if "verified" in said:
        functions = VERIFY_FUNCTIONS if "functions" in said else None
        verification = Verification(
            sql=VERIFY,
            expected=("as expected",) if "changed" not in said else ("something else",),
            functions_sql=functions,
            functions_expected=("functions as expected",),
        )
    return Description(
        text=text,
        template=template,
        shape_digest=hashlib.sha256(" ".join(word for word in said if not word.isdigit()).encode()).digest(),
        static_digest=hashlib.sha256(text).digest(),
        control=control,
        parameters=0,
        writes_or_locks=first in _WRITES,
        changes_names=said[:2] == ["set", "search_path"],
        ddl=first in {"create", "drop"},
        makes_temporary="temp" in said,
        copy_in=first == "copy" and "stdin" in said,
        copy_out=first == "copy" and "stdin" not in said,
        utility=first not in {"select", "insert", "update", "delete"},
        single_transaction=first == "vacuum",
        can_estimate=first == "select",
        cannot_estimate_why="" if first == "select" else "not a query",
        verification=verification,
        wire=wire,
        changes_grammar="standard_conforming_strings" in said,
        prepared=said[1] if first in {"prepare", "deallocate", "execute"} and len(said) > 1 else "",
        cursor=said[1] if first in {"declare", "fetch"} and len(said) > 1 else "",
    )
