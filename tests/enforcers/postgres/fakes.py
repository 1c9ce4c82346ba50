"""A scripted Gate, Core and describer: what a session is judged against when policy is not the subject."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from twokey.type.v1 import operation_pb2

from enforcers.core.credentials import ClientCertificate
from enforcers.core.ports import (
    Act,
    Answer,
    Begun,
    Decided,
    Duties,
    Gate,
    Hold,
    HoldEnd,
    HoldResult,
    Outcome,
    Question,
    Ruling,
)
from enforcers.postgres.commands import EstimateRows, RowEstimate
from enforcers.postgres.description import Control, Description, SessionNames, SyntaxProblem
from enforcers.postgres.taint import Taint
from enforcers.postgres.target import Contexts, Target

ALLOW = Ruling(answer=Answer.ALLOWED, decision="dec_allow")
LEASED = Ruling(answer=Answer.ALLOWED, decision="dec_lease", leased=True)
DENY = Ruling(
    answer=Answer.DENIED,
    decision="dec_deny",
    code="POLICY_DENIED",
    message="planners may not write",
    hint="Ask an executor.",
    rules=("duties.planner_write",),
)
HELD = Ruling(
    answer=Answer.HELD,
    decision="dec_held",
    hold=Hold(approval="apr_1", groups=("dba",), quorum=1, expires="2026-01-01T00:00:00.000000Z"),
)
APPROVED = Ruling(answer=Answer.ALLOWED, decision="dec_redeemed", execution="exe_1")

Policy = Callable[[str], Ruling]


class ScriptedGate:
    """Answers by the statement's text; counts what a real core would have recorded."""

    session = "ses_1"
    role = "executor"
    connection = "crm"
    subject = "executor-7"

    def __init__(self, policy: Policy | None = None, *, duties: Duties | None = None) -> None:
        self.policy: Policy = policy or (lambda _text: ALLOW)
        self.session_duties = duties or Duties()
        self.questions: list[Question] = []
        self.begun: list[Act] = []
        self.ends: list[tuple[str, Outcome]] = []
        self.withdrawn: list[str] = []
        self.redeemed: list[str] = []
        self.dropped: list[str] = []
        self.refused: Ruling | None = None
        self.revision = "rev_1"
        self.leases: dict[bytes, Ruling] = {}
        self.hold_result: asyncio.Future[HoldResult] | None = None
        self.waiting = asyncio.Event()
        self.closed = ""
        self.room = True
        self.on_revoked: Callable[[str], None] | None = None

    def refusal(self) -> Ruling | None:
        return self.refused

    def leased(self, key: bytes) -> Ruling | None:
        return self.leases.get(key)

    def drop_leases(self, reason: str) -> None:
        self.dropped.append(reason)
        self.leases.clear()

    def rule(self, question: Question) -> Ruling:
        self.questions.append(question)
        ruling = self.policy(question.operation.sql.values.statement.decode())
        if ruling.answer is Answer.HELD and not question.can_hold:
            return Ruling(
                answer=Answer.DENIED,
                decision="dec_x",
                code="POLICY_DENIED",
                message="needs approval",
                hint=question.hold_hint,
            )
        if ruling.leased and question.lease_key is not None:
            self.leases[question.lease_key] = ruling
        return ruling

    async def ask(self, question: Question) -> Ruling:
        return self.rule(question)

    async def wait(self, hold: Hold) -> HoldResult:
        self.hold_result = asyncio.get_running_loop().create_future()
        self.waiting.set()
        return await self.hold_result

    def decide_hold(self, end: HoldEnd, reason: str = "") -> None:
        if self.hold_result is None:
            raise AssertionError("nothing is held")
        self.hold_result.set_result(HoldResult(end, reason))
        self.waiting.clear()

    async def withdraw(self, hold: Hold, reason: str) -> None:
        self.withdrawn.append(hold.approval)

    async def redeem(self, question: Question, hold: Hold) -> Ruling:
        self.redeemed.append(hold.approval)
        return APPROVED

    def ready(self, act: Act) -> bool:
        if self.room:
            self.begun.append(act)
        return self.room

    def ask_soon(self, question: Question, done: Decided) -> bool:
        return False

    def begin_soon(self, act: Act, done: Begun) -> bool:
        return False

    async def begin(self, act: Act) -> None:
        self.begun.append(act)

    def end(self, act: Act, outcome: Outcome) -> None:
        self.ends.append((act.statement.decode(), outcome))

    async def close(self, reason: str) -> None:
        self.closed = reason

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(text, outcome.status) for text, outcome in self.ends]


class ScriptedCore:
    """Opens every session whose token is "good"."""

    draining = False

    def __init__(self, gate: Callable[[], ScriptedGate], *, user: str = "postgres", password: str = "") -> None:
        self._make = gate
        self._account = (user, password)
        self.gates: list[ScriptedGate] = []
        self.opened: list[tuple[str, str, str]] = []
        self.certificates: list[str] = []
        self.plans: list[str] = []
        self.refused_credentials: list[tuple[str, str]] = []
        self.stop = asyncio.Event()

    async def open_session(
        self,
        *,
        token: str,
        connection: str,
        role: str,
        client_address: str,
        on_revoked: object,
        client_certificate: str = "",
        plan: str = "",
    ) -> Gate | Ruling:
        self.plans.append(plan)
        self.certificates.append(client_certificate)
        self.opened.append((connection, role, client_address))
        if token != "good":
            return Ruling(
                answer=Answer.DENIED, decision="dec_t", code="TOKEN_INVALID", message="the token is not valid"
            )
        gate = self._make()
        gate.connection, gate.role = connection, role
        gate.on_revoked = on_revoked  # type: ignore[assignment]  # ports types it as object
        self.gates.append(gate)
        return gate

    async def credential(self, connection: str, role: str) -> tuple[str, str]:
        return self._account

    def credential_refused(self, connection: str, role: str) -> None:
        self.refused_credentials.append((connection, role))

    async def certificate(self, connection: str, role: str) -> ClientCertificate | None:
        return None

    def on_classified(self, callback: object) -> None:
        pass

    def on_reload(self, callback: object) -> None:
        return

    async def drained(self) -> None:
        await self.stop.wait()


_CONTROL = {
    "begin": Control.BEGIN,
    "start": Control.BEGIN,
    "commit": Control.COMMIT,
    "end": Control.COMMIT,
    "rollback": Control.ROLLBACK,
    "savepoint": Control.SAVEPOINT,
}


class ScriptedReading:
    """Two questions, one after the other; then the view is the describer itself."""

    def __init__(self, describer: ScriptedDescriber) -> None:
        self._describer = describer
        self.questions: tuple[tuple[str, tuple[str, ...]], ...] = (("SELECT 'pg_catalog.pg_class'", ()),)
        self.view: ScriptedDescriber | None = None

    def answered(self, answers: Sequence[Sequence[Sequence[str | None]]]) -> None:
        assert len(answers) == len(self.questions)
        if self.questions[0][1]:
            self.view = self._describer
            self.questions = ()
        else:
            self.questions = (("SELECT 'pg_catalog.pg_type' WHERE $1 = 'x'::pg_catalog.text", ("x",)),)


class ScriptedDescriber:
    """Describes by the first word; statements are split at semicolons (the texts of these tests hold no others)."""

    def __init__(self) -> None:
        self.version = 1
        self.fresh = True
        self.overrides: dict[str, Callable[[Description], Description]] = {}
        self.outputs: dict[str, Sequence[tuple[str, int, int]]] = {}  # column of t, its table's oid, its number
        self.calls = 0

    def invalidate(self) -> None:
        self.version += 1

    def private(self, names: SessionNames, taint: Taint, *, settled: bool) -> ScriptedReading:
        return ScriptedReading(self)

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        self.calls += 1
        if b"syntax" in message:
            return SyntaxProblem('syntax error at or near "syntax"', 1)
        return [self._one(part.strip(), names) for part in message.split(b";") if part.strip()]

    def _one(self, text: bytes, names: SessionNames) -> Description:
        words = text.decode().lower().split()
        first = words[0]
        control = _CONTROL.get(first, Control.NONE)
        if first == "rollback" and "to" in words:
            control = Control.ROLLBACK_TO
        if words[:2] == ["set", "transaction"]:
            control = Control.SET_TRANSACTION
        template = operation_pb2.SqlOperation(command=first.upper(), verbs=[first])
        if control is Control.NONE and first not in {"set", "show"}:
            template.relations.add(schema="public", name="t", oid=1, kind="table", access=["read"])
        if first in {"set", "show"}:
            template.settings.add(name=words[1], action=first)
        template.returns_rows = first in {"select", "values", "table", "fetch"}
        template.opaque = first == "do"
        for name, oid, number in self.outputs.get(text.decode(), ()):
            output = template.output.add(name=name)
            output.origin.schema, output.origin.relation, output.origin.column = "public", "t", name
            output.origin.relation_oid, output.origin.attribute = oid, number
        digest = hashlib.sha256(text + repr(names).encode()).digest()
        description = Description(
            text=text,
            template=template,
            shape_digest=hashlib.sha256(first.encode()).digest(),
            static_digest=digest,
            control=control,
            parameters=0,
            writes_or_locks=first in {"insert", "update", "delete", "create", "drop", "alter", "truncate", "copy"},
            changes_names=first == "set" and words[1] in {"search_path", "role"},
            ddl=first in {"create", "drop", "alter"},
            makes_temporary="temp" in words,
            copy_in=first == "copy" and "stdin" in words,
            copy_out=first == "copy" and "stdout" in words,
            utility=first not in {"select", "insert", "update", "delete", "values", "table"},
            single_transaction=first == "vacuum",
            can_estimate=first == "select",
            cannot_estimate_why="" if first == "select" else "not a query",
            verification=None,
            wire=tuple((oid, number) for _, oid, number in self.outputs.get(text.decode(), ())),
            changes_grammar="standard_conforming_strings" in words,
            prepared=words[1] if first in {"prepare", "deallocate", "execute"} else "",
        )
        override = self.overrides.get(text.decode())
        return override(description) if override is not None else description


class ScriptedSource:
    """A connection without a catalog."""

    def __init__(self, target: Target, describer: ScriptedDescriber | None = None) -> None:
        self.target = target
        self.contexts = Contexts()
        self.masking_key: bytes | None = None
        self.scripted = describer or ScriptedDescriber()
        self.estimates: list[EstimateRows] = []
        self.refreshes = 0
        self.sessions = 0

    def entered(self) -> None:
        self.sessions += 1

    def left(self) -> None:
        self.sessions -= 1

    async def describer(self) -> ScriptedDescriber:
        return self.scripted

    async def refresh(self) -> None:
        self.refreshes += 1
        self.scripted.fresh = True

    async def estimate(self, wanted: EstimateRows, role: str) -> RowEstimate:
        self.estimates.append(wanted)
        return RowEstimate(7.0, 1.5)

    async def close(self) -> None:
        return


def with_duties(ruling: Ruling, **duties: object) -> Ruling:
    return replace(ruling, duties=Duties(**duties))  # type: ignore[arg-type]  # the tests name Duties' own fields
