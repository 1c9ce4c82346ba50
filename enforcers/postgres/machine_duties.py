"""What a session knows of its own duties: the reason its client gives, the limits a client may have loosened, time.

A duty that can't be met refuses the act (design, invariant 1). The session's own read-only and statement-timeout are
start-up options, so that RESET keeps them; but a client whom policy lets set them, or something opaque, can change
them. From then on nothing is believed of them, and each act sets what it is obliged to, for itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator

from enforcers.core.ports import Duties, Gate
from enforcers.postgres import deny, wire
from enforcers.postgres.bounds import Writes, writes_of
from enforcers.postgres.commands import Alarm, Command
from enforcers.postgres.describing import Describer
from enforcers.postgres.description import Control, Description
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_lineage import Lineage
from enforcers.postgres.machine_state import Expect, Running
from enforcers.postgres.reason import (
    MAX_CHARACTERS,
    SETTING,
    Applied,
    BadReason,
    Reason,
    ReasonChange,
    Scope,
    read_change,
)

REASON_HINT = f"SET {SETTING} = 'why'"
MAX_TIMED = 64  # acts with a deadline that are kept before those that ended are forgotten
_WATCHED = frozenset({"statement_timeout", "transaction_read_only", "default_transaction_read_only"})
_READ_ONLY = frozenset({"transaction_read_only", "default_transaction_read_only"})
_TIMEOUT_SQL = "SELECT pg_catalog.current_setting('statement_timeout')"
_SET_SQL = "SELECT pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, true)"
_DURATION = re.compile(rb"(\d+)(us|ms|s|min|h|d)?\Z")
_UNITS = {b"us": 0.001, b"": 1, b"ms": 1, b"s": 1000, b"min": 60_000, b"h": 3_600_000, b"d": 86_400_000}


class Dutiful(Lineage):
    """Adds what obligations need to know of the session."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        super().__init__(gate, describer)
        self.reason = Reason()
        self.session_read_only = gate.session_duties.read_only
        self._last_met: Duties | None = None  # what was found to be met last, until something loosens it
        self.loosened = False  # the session's read-only or statement_timeout may no longer be what it was opened with
        self.timed: list[tuple[float, Running]] = []  # deadlines of acts, on the monotonic clock
        self.alarm_at = 0.0  # of the earliest Alarm that is outstanding; 0 none
        limit = gate.session_duties.max_duration_ms
        self.session_ends = 0.0 if limit is None else time.monotonic() + limit / 1000
        if limit is not None:
            self._alarm_in(limit / 1000)

    def session_over(self) -> None:
        raise NotImplementedError

    # Reasons

    def own_setting(self, text: bytes) -> ReasonChange | bytes:
        """What a statement that touches a setting of the gateway's own does, or the error it gets."""
        change = read_change(text)
        if isinstance(change, BadReason):
            return deny.error("22023", f'invalid value for parameter "{SETTING}": {change.why}', hint=REASON_HINT)
        if change is None:
            return deny.error(
                "42501", "settings below twokey. are the gateway's own", hint=f"{REASON_HINT} is the one to use."
            )
        return change

    def give_reason(self, text: str) -> None:
        """As the start-up packet did: what RESET goes back to."""
        self.reason = Reason(text[:MAX_CHARACTERS])

    def answer(self, expect: Expect) -> bytes | None:
        return reason_answer(expect.value)

    def change_reason(self, change: ReasonChange) -> Applied:
        active = self.transaction.active
        if change.scope is Scope.TRANSACTION and not active:
            self.tell(
                deny.notice("SET LOCAL can only be used in transaction blocks", severity="WARNING", sqlstate="25P01")
            )
        return self.reason.change(change, in_transaction=active)

    def heed(self, description: Description) -> None:
        """A statement is being sent that may change the reason's transaction, or the session's limits."""
        control = description.control
        if control in {Control.COMMIT, Control.PREPARED}:
            self.reason.ended(committed=not self.transaction.failed)
        elif control is Control.ROLLBACK:
            self.reason.ended(committed=False)
        if description.template.opaque:
            self._loosen()
        for setting in description.template.settings:
            if setting.name == "*" and setting.action == "reset":
                self.reason.reset(in_transaction=self.transaction.active)
            elif setting.name in _WATCHED and setting.action != "show":
                self._loosen()

    def _loosen(self) -> None:
        self.loosened = True
        self._last_met = None

    # Duties that this session, or this statement, can't meet

    def unmet_duty(self, description: Description, duties: Duties) -> bytes:
        """The error; empty when nothing stands in the way."""
        if duties.require_reason and not self.reason.given:
            return deny.coded(
                "REASON_REQUIRED", "policy demands a reason for this, and none is given", hint=REASON_HINT
            )
        if self.loosens(description):
            return deny.coded("OBLIGATION_UNMET", "this session is read-only", hint="Open one that may write.")
        bounded = duties.max_rows is not None or (
            duties.max_bytes is not None and (description.template.returns_rows or description.copy_in)
        )
        if bounded and writes_of(description) is Writes.UNKNOWN:
            return deny.coded(
                "OBLIGATION_UNMET",
                "policy bounds how much this does, and it can't be counted before it stands",
                hint="Write plain INSERT, UPDATE, DELETE, MERGE or COPY.",
            )
        if description.single_transaction and not self.met(duties):
            return deny.coded(
                "OBLIGATION_UNMET", "policy limits this statement, and it can't run in a transaction that does so"
            )
        return b""

    def loosens(self, description: Description) -> bool:
        """It would make transactions of a read-only session writable."""
        if not self.session_read_only or description.shape_digest in self.quiet:
            return False
        for setting in description.template.settings:
            if setting.name in _READ_ONLY and setting.action in {"set", "set-local"} and setting.value != "on":
                return True
        return False

    def met(self, duties: Duties) -> bool:
        """read-only and statement-timeout hold already because the whole session has them, and still does."""
        if duties is self._last_met:
            return True
        session = self.gate.session_duties
        if self.loosened:
            return not (duties.read_only or session.read_only) and self.timeout_of(duties) is None
        if duties.read_only and not session.read_only:
            return False
        wanted, there = duties.statement_timeout_ms, session.statement_timeout_ms
        if wanted is not None and (there is None or there > wanted):
            return False
        self._last_met = duties  # every act under a lease has the same
        return True

    def timeout_of(self, duties: Duties) -> int | None:
        wanted, session = duties.statement_timeout_ms, self.gate.session_duties.statement_timeout_ms
        return session if wanted is None else wanted if session is None else min(wanted, session)

    def set_duties(self, running: Running) -> Generator[Command | Internal, object, bool]:
        """Set, locally to the transaction, what the session doesn't have already. False: the target refused."""
        duties = running.act.ruling.duties
        if running.description.control is not Control.NONE or self.met(duties):
            return True  # no question may stand before some of those, and none of them has anything to limit
        if duties.read_only or self.gate.session_duties.read_only:
            done = yield from self._set(b"transaction_read_only", b"on")
            if not done:
                return False
        wanted = self.timeout_of(duties)
        if wanted is None:
            return True
        capture = self.question(_TIMEOUT_SQL)
        yield from self.flushed(capture)
        there = capture.rows[0][0] if capture.rows and capture.rows[0] else None
        if capture.error is not None or there is None:
            return False
        if 0 < milliseconds(there) <= wanted:
            return True  # the client's own is lower
        running.restore = ((b"statement_timeout", there),)
        return (yield from self._set(b"statement_timeout", str(wanted).encode()))

    def restore(self, running: Running) -> Generator[Command | Internal, object, bool]:
        """As it was before the act, where its transaction goes on. False: the target refused."""
        settings, running.restore = running.restore, ()
        for name, value in settings:
            done = yield from self._set(name, value)
            if not done:
                return False
        return True

    def _set(self, name: bytes, value: bytes) -> Generator[Command | Internal, object, bool]:
        capture = self.question(_SET_SQL, (name, value))
        yield from self.flushed(capture)
        return capture.error is None and bool(capture.rows)

    # Time

    def give_time(self, running: Running, limit: int) -> None:
        """It begins now, and is stopped after so many milliseconds."""
        if len(self.timed) >= MAX_TIMED:
            self.timed = [entry for entry in self.timed if not entry[1].ended]
        self.timed.append((time.monotonic() + limit / 1000, running))
        self._alarm_in(limit / 1000)

    def ring(self, now: float) -> None:
        """An Alarm's time has come: acts whose own has, too, are stopped, and the session if it is that."""
        self.alarm_at = 0.0
        if self.session_ends and now >= self.session_ends:
            self.session_over()
            return
        # What ran to its end, and waits for its transaction's, took no longer.
        due = [running for at, running in self.timed if at <= now and not (running.ended or running.settling)]
        self.timed = [entry for entry in self.timed if entry[0] > now and not entry[1].ended]
        for running in due:
            self._overdue(running)
        left = [at for at, _ in self.timed]
        if self.session_ends:
            left.append(self.session_ends)
        if left:
            self._alarm_in(min(left) - now)

    def _alarm_in(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if not self.alarm_at or at < self.alarm_at:
            self.alarm_at = at
            self.commands.append(Alarm(seconds))

    def _overdue(self, running: Running) -> None:
        running.cut = "TIME_LIMIT"
        if not any(running in expect.acts for expect in self.replies.expects):
            self.replies.refuse(running)  # bound, or between two Executes: it goes no further
            return
        if self.copy_in:
            self.fail_copy()
        else:
            self.cancel_target()

    def fail_copy(self) -> None:
        """The target is to give up the COPY FROM that it reads; what the client still sends is dropped."""
        self.copy_in = False
        self.send(wire.message(b"f", b"a limit of policy is reached\0"))

    def undo_reasons(self, values: list[object]) -> None:
        """Of messages that the target skipped, in order."""
        for value in reversed(values):
            if isinstance(value, Applied):
                self.reason.undo(value)


def milliseconds(setting: bytes) -> float:
    """A time setting as current_setting shows it, `30s` or `1500ms`; 0, that is none, where it can't be read."""
    found = _DURATION.match(setting)
    return int(found[1]) * _UNITS[found[2] or b""] if found else 0.0


def reason_answer(value: object) -> bytes | None:
    """CommandComplete of a change of the reason, in place of the EmptyQueryResponse that the target gave."""
    return wire.message(b"C", value.change.tag.encode() + b"\0") if isinstance(value, Applied) else None
