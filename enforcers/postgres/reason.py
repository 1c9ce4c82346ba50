"""`SET twokey.reason = '…'`: why the client does what it does next, kept by the gateway and never told to the target.

It behaves as a setting of PostgreSQL's would: SET lasts for the session and is undone by a rollback, SET LOCAL lasts
for the transaction, RESET, RESET ALL and DISCARD ALL forget it. Savepoints don't touch it. Only a constant is taken.

Source: PostgreSQL documentation, SET ("Parameters", "Notes").
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import orjson
import pglast
from pglast.parser import ParseError

SETTING = "twokey.reason"
OWN = "twokey."
MAX_CHARACTERS = 1000


class Scope(enum.Enum):
    SESSION = "session"
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True)
class ReasonChange:
    """A statement that gives the reason, or (text None) goes back to that of the start-up; `tag` is its
    CommandComplete's."""

    text: str | None
    scope: Scope
    tag: str


@dataclass(frozen=True, slots=True)
class BadReason:
    """It was meant to, and can't: why, for the client."""

    why: str


def read_change(statement: bytes) -> ReasonChange | BadReason | None:
    """What one statement does to the reason; None when it is no SET or RESET of it."""
    try:
        parsed = orjson.loads(pglast.parser.parse_sql_json(statement.decode()))
    except (ParseError, UnicodeDecodeError, orjson.JSONDecodeError):
        return None
    statements = parsed.get("stmts") or []
    body = statements[0].get("stmt", {}).get("VariableSetStmt") if len(statements) == 1 else None
    if not isinstance(body, dict) or str(body.get("name", "")).lower() != SETTING:
        return None
    kind = str(body.get("kind", "")).removeprefix("VAR_")
    scope = Scope.TRANSACTION if body.get("is_local") else Scope.SESSION
    if kind == "RESET":
        return ReasonChange(None, Scope.SESSION, "RESET")
    if kind == "SET_DEFAULT":
        return ReasonChange(None, scope, "SET")
    arguments = body.get("args") or []
    value = arguments[0].get("A_Const", {}).get("sval") if len(arguments) == 1 else None
    if kind != "SET_VALUE" or not isinstance(value, dict):
        return BadReason("a reason is one quoted text")
    text = str(value.get("sval", ""))
    if len(text) > MAX_CHARACTERS:
        return BadReason(f"a reason has at most {MAX_CHARACTERS} characters")
    return ReasonChange(text, scope, "SET")


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that is on its way: what to go back to if the target skips it."""

    change: ReasonChange
    before: tuple[str, str, str, bool]


class Reason:
    """The reason in force, as the statements sent so far leave it."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.in_transaction = False  # it was changed in the transaction that is open
        self._initial = text
        self._stays = text  # once this transaction commits
        self._before = text  # once it rolls back

    @property
    def given(self) -> bool:
        return bool(self.text.strip())

    def change(self, change: ReasonChange, *, in_transaction: bool) -> Applied:
        applied = Applied(change, (self.text, self._stays, self._before, self.in_transaction))
        text = self._initial if change.text is None else change.text
        if in_transaction and not self.in_transaction:
            self.in_transaction = True
            self._before = self._stays = self.text
        if change.scope is Scope.SESSION:
            self.text = self._stays = text
        elif in_transaction:
            self.text = text  # outside of a transaction SET LOCAL has no effect
        return applied

    def undo(self, applied: Applied) -> None:
        """The target never executed it."""
        self.text, self._stays, self._before, self.in_transaction = applied.before

    def reset(self, *, in_transaction: bool) -> None:
        """RESET ALL, DISCARD ALL."""
        self.change(ReasonChange(None, Scope.SESSION, "RESET"), in_transaction=in_transaction)

    def ended(self, *, committed: bool) -> None:
        """The transaction is over."""
        if self.in_transaction:
            self.in_transaction = False
            self.text = self._stays if committed else self._before
