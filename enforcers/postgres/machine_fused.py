"""The usual case in one pass: Bind, perhaps Describe, Execute and Sync of one known statement, all under a lease.

Drivers send an execution of a prepared statement as these messages in one piece, on the unnamed portal. Where nothing
else is under way and nothing has to be asked, waited for or guarded, each condition of the longer way (machine_portals)
is known to hold at once, and the bytes go on as they came. Everything else takes the longer way, from the beginning:
nothing is remembered of the attempt.
"""

from __future__ import annotations

from typing import Final

from enforcers.core.ports import Act, Answer, Gate
from enforcers.postgres import wire
from enforcers.postgres.bounds import NOTHING
from enforcers.postgres.describing import Describer
from enforcers.postgres.machine_copying import Copying
from enforcers.postgres.machine_state import BIND, DESCRIBE, EXECUTE, SYNC, Expect, Portal, Running
from enforcers.postgres.operations import bound_values, new_operation_id

# What may follow the Bind: without Describe, and with it.
_SHORT: Final = wire.execute(b"") + wire.SYNC
_LONG: Final = wire.describe(b"P", b"") + wire.execute(b"") + wire.SYNC
_SHORT_SIZE: Final = len(_SHORT)
_LONG_SIZE: Final = len(_LONG)
_UNNAMED: Final = b""
_ALLOWED: Final = Answer.ALLOWED


class Fused(Copying):
    """Adds `fused`."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        super().__init__(gate, describer)
        self._tail_limit = -1
        self._tail_short = b""
        self._tail_long = b""

    def fused(self, data: bytes) -> bool:
        """data: all that came. True: it was this case, and is forwarded. False: nothing was done. Raises ProtocolError.

        The caller has made sure that no message waits and that nothing is under way (`at_rest`).
        """
        described = data.endswith(_LONG)
        if not described and not data.endswith(_SHORT):
            return False
        end = len(data) - (_LONG_SIZE if described else _SHORT_SIZE)
        if end < 12 or wire.frame_end(data, 0) != end or data[5] != 0:
            return False
        bind = wire.parse_bind(data[:end])
        statement = self.statements.get(bind.statement)
        if statement is None or statement.suspect or not self.ready_to_describe():
            return False
        description = statement.description
        if (
            description is None
            or statement.names_version != self.names_version
            or statement.catalog_version != self.catalog_version
            or not statement.plain
        ):
            return False
        gate = self.gate
        ruling = gate.leased(self.keys.key(description, self.transaction, 0, 1))
        if ruling is None or ruling.answer is not _ALLOWED or gate.refusal() is not None:
            return False
        if ruling.duties.max_duration_ms is not None or ruling.duties.require_reason or self.reason.text:
            return False
        bound = bound_values(bind.values, bind.formats, statement.types) if bind.values else ()
        act = Act(
            operation=new_operation_id(),
            ruling=ruling,
            digest=self._digest(description, bound),
            shape_digest=description.shape_digest,
            statement=description.text,
            bound=bound,
        )
        running = Running(act, description)
        limit = running.limit
        if running.bounded and (self.transaction.active or self.transaction.written):
            return False  # what runs before the Sync must know whether the result turned out too large
        if running.writes is not NOTHING or self.needs_guard(running) or self.must_watch(running):
            return False
        if not gate.ready(act):
            return False
        portal = Portal(
            _UNNAMED,
            statement,
            bind,
            running,
            names_version=self.names_version,
            catalog_version=self.catalog_version,
            revision=gate.revision,
            turn=self.turn,
        )
        portal.executed = running.begun = True
        self._keep(portal)
        self.follow(description)
        expects = self.replies.expects
        expects.append(Expect(BIND, name=_UNNAMED, value=portal))
        if described:
            expects.append(Expect(DESCRIBE))
        expects.append(Expect(EXECUTE, acts=(running,)))
        expects.append(Expect(SYNC))
        if limit is not None:
            data = data[:end] + self._limited_tail(limit, described=described)
        self.limited_execute = running.bounded
        self.limit_flushed = False
        self.to_target.append(data)
        self.boundary = True
        self.error_told = False
        return True

    def _limited_tail(self, limit: int, *, described: bool) -> bytes:
        """What follows the Bind, with one row more than policy allows."""
        if self._tail_limit != limit:
            execute = wire.execute(_UNNAMED, limit + 1)
            self._tail_short = execute + wire.SYNC
            self._tail_long = wire.describe(b"P", _UNNAMED) + self._tail_short
            self._tail_limit = limit
        return self._tail_long if described else self._tail_short

    @property
    def at_rest(self) -> bool:
        """No message waits, no segment is open, no answer that the next message depends on is outstanding."""
        return not (
            self.queue
            or self.flow is not None
            or self.boundary
            or self.segment_open
            or self.skipping
            or self.copy_in
            or self.await_copy
            or self.limited_execute
            or self.cancelling
            or self.closed
        )
