"""FunctionCall, the protocol's "fast path" (libpq's PQfn, which large objects use): decided as the SELECT that it is.

The message names a function by object id. The session's own connection is asked what that is; the call is described
and decided as `SELECT schema.name($1::type, …)` with the message's values bound, and then the message itself is
forwarded. It ends with a ReadyForQuery like a Query, and commits what it did when it is not in a transaction block.

Nothing can be asked between the call and that commit, and its result has no description. So a call is never held, and
one whose decision needs a mask or a verification is refused (docs/decisions/0014-what-a-message-only-names.md).

Source: PostgreSQL documentation, "Function Call" in "Message Flow"; src/backend/tcop/fastpath.c.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from enforcers.core.ports import Gate
from enforcers.postgres import deny, wire
from enforcers.postgres.commands import Command
from enforcers.postgres.describing import Describer
from enforcers.postgres.description import SyntaxProblem
from enforcers.postgres.machine_base import Flow, Internal
from enforcers.postgres.machine_decide import Asked
from enforcers.postgres.machine_portals import Extended
from enforcers.postgres.machine_state import FUNCTION_CALL, Expect, Granted, Kind, Refused, Running

HINT = "Use SELECT function(…)."
MAX_KNOWN = 256  # functions of a session
_FUNCTION_SQL = (
    "SELECT n.nspname::pg_catalog.text, p.proname::pg_catalog.text, a.type::pg_catalog.text,"
    " tn.nspname::pg_catalog.text, t.typname::pg_catalog.text, t.typtype::pg_catalog.text"
    " FROM pg_catalog.pg_proc p"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
    " LEFT JOIN LATERAL pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(type, position) ON true"
    " LEFT JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.type"
    " LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid OPERATOR(pg_catalog.=) t.typnamespace"
    " WHERE p.oid OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.oid ORDER BY a.position"
)


class Called(NamedTuple):
    """What an object id means, under one version of the catalog."""

    text: bytes
    types: tuple[int, ...]
    version: tuple[int, int]


class Calls(Extended):
    """Adds FunctionCall."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        super().__init__(gate, describer)
        self.known_calls: dict[int, Called] = {}

    def on_function_call(self, raw: bytes) -> None:
        self.start(self._call_flow(raw, wire.parse_function_call(raw)))

    def _call_flow(self, raw: bytes, call: wire.FunctionCall) -> Flow:
        if self.skipping:
            return  # as the target does with it behind an error
        granted = yield from self._called(call)
        refused = granted if isinstance(granted, Refused) else None
        if not isinstance(granted, Refused):
            limit = granted.limit
            if self.needs_guard(granted) or (limit is not None and limit < 1):
                self.ended(granted, "refused", error="not run: a function call can't meet the decision")
                refused = Refused(
                    deny.coded("OBLIGATION_UNMET", "a function call message can't meet the decision", hint=HINT)
                )
            elif self.skipping:
                self.ended(granted, "not-executed", error="an earlier message failed")
            else:
                granted.begun = True
                if granted.duration is not None:
                    self.give_time(granted, granted.duration)
                self.follow(granted.description)
                self.send(raw, Expect(Kind.QUERY, acts=(granted,), name=FUNCTION_CALL))
                self.boundary = True
                self.segment_open = False
        if refused is not None:
            self.refuse_query(refused)

    def _called(self, call: wire.FunctionCall) -> Generator[Command | Internal, object, Running | Refused]:
        if self.transaction.failed:
            return Refused(
                deny.error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
            )
        called = self.known_calls.get(call.function)
        if called is None or called.version != (self.names_version, self.catalog_version) or self.names_stale:
            called = yield from self._resolved(call.function)
        if called is None:
            return Refused(deny.error("42883", f"function with OID {call.function} does not exist"))
        if len(called.types) != len(call.values):
            wanted = f"function call message contains {len(call.values)} arguments but function requires"
            return Refused(deny.error("08P01", f"{wanted} {len(called.types)}"))
        described = yield from self.described(called.text)
        if isinstance(described, Refused):
            return described
        if isinstance(described, SyntaxProblem) or len(described) != 1:
            return Refused(deny.coded("NOT_SUPPORTED", "this function can't be described", hint=HINT))
        granted = yield from self.decide(
            Asked(
                description=described[0],
                transaction=self.transaction,
                values=call.values,
                formats=call.formats,
                types=called.types,
                statements=0,  # it is no statement of a message
                holdable=False,
            )
        )
        return Running(granted.act, described[0]) if isinstance(granted, Granted) else granted

    def _resolved(self, function: int) -> Generator[Command | Internal, object, Called | None]:
        capture = self.question(_FUNCTION_SQL, (str(function).encode(),))
        yield from self.answered(capture)
        if capture.error is not None or not capture.rows:
            return None
        rows = [[(cell or b"").decode("utf-8", "replace") for cell in row] for row in capture.rows]
        called = Called(*select_of(rows), (self.names_version, self.catalog_version))
        if len(self.known_calls) >= MAX_KNOWN:
            self.known_calls.clear()
        self.known_calls[function] = called
        return called


def select_of(rows: Sequence[Sequence[str]]) -> tuple[bytes, tuple[int, ...]]:
    """The SELECT that calls the function, and its arguments' types, from the answer to _FUNCTION_SQL."""
    schema, name = rows[0][:2]
    types: list[int] = []
    arguments: list[str] = []
    for _, _, oid, type_schema, type_name, kind in rows:
        if oid:
            types.append(int(oid))
            parameter = f"${len(types)}"
            # A polymorphic argument has no type to be cast to; what it is given decides.
            arguments.append(parameter if kind == "p" else f"{parameter}::{_quoted(type_schema)}.{_quoted(type_name)}")
    text = f"SELECT {_quoted(schema)}.{_quoted(name)}({', '.join(arguments)})"
    return text.encode(), tuple(types)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
