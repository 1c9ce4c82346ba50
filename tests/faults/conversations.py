"""Conversations to be had over bad lines: units of messages, each answered by a known number of ReadyForQuery.

RUN stands for the run's own name in the ledger, of fixed length so that every run has the same bytes but for it. What
a unit writes into the ledger is numbered, so that what ran twice, or not at all, can be counted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from enforcers.postgres import wire

RUN = b"RRRRRRRRRRRRRRRR"
BOUND = b"INSERT INTO ledger VALUES ($1, $2::int)"
ROWS = b"SELECT id, name, n FROM t ORDER BY id"
BULK = b"SELECT id, filler FROM big WHERE id <= 400 ORDER BY id"


@dataclass(frozen=True)
class Unit:
    """messages end with Query or Sync; ready: how many ReadyForQuery answer it; writes: (number, statement's text)."""

    messages: bytes
    ready: int = 1
    writes: tuple[tuple[int, bytes], ...] = ()
    plain: bool = True  # a direct client sees the same
    explicit: bool = False  # in a transaction of the client's own, where an act is completed one by one


def insert(number: int, comment: bytes = b"") -> bytes:
    return b"INSERT INTO ledger VALUES ('" + RUN + b"', %d)" % number + comment


def bound(number: int, name: bytes = b"") -> bytes:
    values = (RUN, str(number).encode())
    return wire.bind(b"", name, values) + wire.describe(b"P", b"") + wire.execute(b"")


def _simple(n: int) -> Unit:
    return Unit(wire.query(insert(n)), writes=((n, insert(n)),))


def _several(n: int) -> Unit:
    text = insert(n) + b"; SELECT 1; " + insert(n + 1)
    return Unit(wire.query(text), writes=((n, insert(n)), (n + 1, insert(n + 1))))


def _several_failing(n: int) -> Unit:
    text = insert(n) + b"; SELECT 1/0; " + insert(n + 1)
    return Unit(wire.query(text), writes=((n, insert(n)), (n + 1, insert(n + 1))))


def _extended(n: int) -> Unit:
    return Unit(wire.parse(b"", BOUND) + bound(n) + wire.SYNC, writes=((n, BOUND),))


def _pipeline(n: int) -> Unit:
    messages = wire.parse(b"", BOUND) + bound(n) + bound(n + 1) + wire.FLUSH + bound(n + 2) + wire.SYNC
    return Unit(messages, writes=tuple((n + i, BOUND) for i in range(3)))


def _pipeline_failing(n: int) -> Unit:
    wrong = wire.bind(b"", b"", (RUN, b"x")) + wire.execute(b"")
    messages = wire.parse(b"", BOUND) + bound(n) + wrong + bound(n + 1) + wire.SYNC
    return Unit(messages, writes=((n, BOUND), (n + 1, BOUND)))


def _two_pipelines(n: int) -> Unit:
    one = wire.parse(b"", BOUND) + bound(n) + wire.SYNC
    return Unit(one + bound(n + 1) + wire.SYNC, ready=2, writes=((n, BOUND), (n + 1, BOUND)))


def _committed(n: int) -> Unit:
    messages = wire.query(b"BEGIN") + wire.query(insert(n)) + wire.query(b"COMMIT")
    return Unit(messages, ready=3, writes=((n, insert(n)),), explicit=True)


def _rolled_back(n: int) -> Unit:
    messages = wire.query(b"BEGIN") + wire.query(insert(n)) + wire.query(b"ROLLBACK")
    return Unit(messages, ready=3, writes=((n, insert(n)),), explicit=True)


def _copy_in(n: int) -> Unit:
    rows = b"".join(wire.message(b"d", RUN + b"\t%d\n" % (n + i)) for i in range(2))
    text = b"COPY ledger FROM STDIN"
    return Unit(wire.query(text) + rows + wire.message(b"c"), writes=((n, text), (n + 1, text)))


def _copy_in_extended(n: int) -> Unit:
    text = b"COPY ledger (run, n) FROM STDIN"
    start = wire.parse(b"", text) + wire.bind(b"", b"") + wire.execute(b"")
    rows = wire.message(b"d", RUN + b"\t%d\n" % n) + wire.message(b"c")
    return Unit(start + rows + wire.SYNC, writes=((n, text),))


def _copy_in_given_up(n: int) -> Unit:
    text = b"COPY ledger (n, run) FROM STDIN"
    rows = wire.message(b"d", b"%d\t" % n + RUN + b"\n") + wire.message(b"f", b"no more\0")
    return Unit(wire.query(text) + rows, writes=((n, text),))


def _portal(n: int) -> Unit:
    start = wire.parse(b"", ROWS) + wire.bind(b"p", b"") + wire.describe(b"P", b"p")
    return Unit(start + wire.execute(b"p", 7) + wire.execute(b"p", 7) + wire.execute(b"p") + wire.SYNC)


def _query(text: bytes, *, plain: bool = True) -> Callable[[int], Unit]:
    return lambda _n: Unit(wire.query(text), plain=plain)


def _prepared(text: bytes, *, plain: bool = True) -> Callable[[int], Unit]:
    messages = wire.parse(b"", text) + wire.bind(b"", b"") + wire.describe(b"P", b"") + wire.execute(b"") + wire.SYNC
    return lambda _n: Unit(messages, plain=plain)


def _held(n: int) -> Unit:
    text = insert(n, b" /*held*/")
    return Unit(wire.query(text), writes=((n, text),), plain=False)


def _held_extended(n: int) -> Unit:
    text = BOUND + b" /*held*/"
    return Unit(wire.parse(b"", text) + bound(n) + wire.SYNC, writes=((n, text),), plain=False)


def _leased(n: int) -> Unit:
    text = BOUND + b" /*leased*/"
    return Unit(wire.parse(b"", text) + bound(n) + wire.SYNC, writes=((n, text),))


def _denied(n: int) -> Unit:
    text = insert(n, b" /*deny*/")
    return Unit(wire.query(text), writes=((n, text),), plain=False)


def _denied_in_a_pipeline(n: int) -> Unit:
    text = BOUND + b" /*deny*/"
    messages = wire.parse(b"", BOUND) + bound(n) + wire.parse(b"", text) + bound(n + 1) + wire.SYNC
    return Unit(messages, writes=((n, BOUND), (n + 1, text)), plain=False)


def _denied_in_a_transaction(n: int) -> Unit:
    text = insert(n + 1, b" /*deny*/")
    messages = (wire.query(t) for t in (b"BEGIN", insert(n), text, b"COMMIT"))
    return Unit(b"".join(messages), ready=4, writes=((n, insert(n)), (n + 1, text)), plain=False, explicit=True)


PLAIN: tuple[Callable[[int], Unit], ...] = (
    _simple, _several, _several_failing, _extended, _pipeline, _pipeline_failing, _two_pipelines, _committed,
    _rolled_back, _copy_in, _copy_in_extended, _copy_in_given_up, _portal, _leased,
    _query(ROWS), _query(BULK), _query(b"COPY t TO STDOUT"), _query(b"SELECT 1/0"), _query(b"SELECT FROM WHERE"),
    _query(b""), _query(b"SET work_mem = '8MB'"), _prepared(ROWS), _prepared(BULK), _prepared(b"SELECT 1/0"),
    _prepared(b"COPY (SELECT id FROM t) TO STDOUT"), _prepared(b""),
)  # fmt: skip
MASKED = b"SELECT id, email /*masked*/ FROM t ORDER BY id"
LIMITED = b"SELECT id /*limited*/ FROM t ORDER BY id"
POLICY: tuple[Callable[[int], Unit], ...] = (
    _held, _held_extended, _denied, _denied_in_a_pipeline, _denied_in_a_transaction,
    _query(MASKED, plain=False), _prepared(MASKED, plain=False), _query(LIMITED, plain=False),
    _prepared(LIMITED, plain=False),
)  # fmt: skip


def conversations(units: tuple[Callable[[int], Unit], ...]) -> st.SearchStrategy[list[Unit]]:
    """One to five units, whose numbers don't meet."""
    chosen = st.lists(st.sampled_from(units), min_size=1, max_size=5)
    return chosen.map(lambda makers: [make(10 * place) for place, make in enumerate(makers)])
