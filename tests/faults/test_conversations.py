"""Whole conversations over bad lines, by hypothesis: a real PostgreSQL, the real describer, a proxy on either side.

However the bytes come, in single ones or late, the client sees what it sees directly, to the byte. Where a line is cut
it sees a beginning of that, and, where the target's was cut, an error that says so. Nothing runs twice; what the client
was told, and what stands in the target, is what the log will say.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Postgres
from tests.faults.bench import ApprovingGate, Bench, Client, Frame, client, until
from tests.faults.conversations import PLAIN, POLICY, RUN, Unit, conversations
from tests.faults.proxy import GOOD, Cut, Line, Way

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
pieces = st.one_of(
    st.just((1,)), st.just((1, 1, 1, 1, 1, 4096)), st.lists(st.integers(1, 700), min_size=1, max_size=4).map(tuple)
)
ways = st.builds(Way, pieces=pieces, gap=st.sampled_from([0.0, 0.0, 0.0003]), first=st.sampled_from([0.0, 0.01]))
lines = st.builds(Line, up=ways, down=ways)
cuts = st.builds(
    Way,
    pieces=st.sampled_from([(), (), (1, 5000), (300,)]),
    gap=st.just(0.0),
    after=st.one_of(st.integers(0, 400), st.integers(0, 4000), st.integers(0, 60_000)),
    cut=st.sampled_from([Cut.CLOSE, Cut.RESET]),
)
_runs = itertools.count()


@dataclass
class Result:
    """What came of one conversation over the gateway."""

    run: bytes
    frames: list[Frame]
    part: bytes
    ended: bool
    ready: int  # ReadyForQuery messages that arrived
    gate: ApprovingGate | None


def new_run() -> bytes:
    return b"%016d" % next(_runs)


def converse(bench: Bench, units: list[Unit], *, before: Line = GOOD, behind: Line = GOOD, direct: int = 0) -> Result:
    """direct: the target's own port."""
    run = new_run()
    name = run.decode()
    bench.before.lines[name], bench.behind.lines[name] = before, behind
    gates = len(bench.core.gates)
    address = {"user": "postgres", "database": "postgres"} if direct else {}
    with client(direct or bench.before.port, application=name, **address) as one:
        if one.log_in():
            for unit in units:
                one.send(unit.messages.replace(RUN, run))
                if not one.until_ready(unit.ready):
                    break
        ready = sum(kind == "Z" for kind, _ in one.seen)
        if not one.ended:
            one.send(wire.TERMINATE)
        frames = [(kind, raw.replace(run, RUN)) for kind, raw in one.seen]
        result = Result(run, frames, one.parts, one.ended, ready, None)
    if not direct and len(bench.core.gates) > gates:
        gate = bench.core.gates[-1]
        assert isinstance(gate, ApprovingGate)
        until(lambda: bool(gate.closed), what="the session's end")
        result.gate = gate
    del bench.before.lines[name], bench.behind.lines[name]
    return result


def ledger(postgres: Postgres, run: bytes) -> Counter[int]:
    """What the target holds once nothing of the run is running any more."""
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        until(lambda: admin.execute(query, (run.decode(),)).fetchone() == (0,), what="the end of its backend")
        return Counter(n for (n,) in admin.execute("SELECT n FROM ledger WHERE run = %s", (run.decode(),)))


def judge(postgres: Postgres, result: Result, units: list[Unit]) -> None:
    """Nothing twice; each act one outcome; what the client was told and what stands is what the outcomes say."""
    rows = ledger(postgres, result.run)
    assert all(count == 1 for count in rows.values()), f"executed twice: {rows}"
    gate = result.gate
    if gate is None:
        assert not rows
        return
    assert len(gate.ends) == gate.granted, (gate.ended, gate.granted)
    said: dict[bytes, Counter[str]] = {}
    for statement, outcome in gate.ends:
        said.setdefault(statement.encode().replace(result.run, RUN), Counter())[outcome.status] += 1
    told = list(answered(units, result.ready))
    for text in {text for unit in units for _, text in unit.writes}:
        outcomes = said.get(text, Counter())
        stands = standing(units, text, rows)
        assert stands <= outcomes["completed"] + outcomes["unknown"], (text, stands, outcomes)
        assert standing(told, text, rows) <= outcomes["completed"], (text, outcomes)
        undone = sum(of == text for unit in units if unit.explicit for _, of in unit.writes)
        assert outcomes["completed"] <= stands + undone, (text, stands, outcomes)


def answered(units: list[Unit], ready: int) -> Iterator[Unit]:
    """The units of which the client has every answer."""
    for unit in units:
        ready -= unit.ready
        if ready >= 0:
            yield unit


def standing(units: list[Unit], text: bytes, rows: Counter[int]) -> int:
    """How many executions of the statement stand in the ledger; a COPY writes several rows in one."""
    found = 0
    for unit in units:
        written = [rows[number] for number, of in unit.writes if of == text]
        found += any(written) if text.startswith(b"COPY") else sum(written)
    return found


@EXAMPLES
@given(units=conversations(PLAIN), before=lines, behind=lines)
def test_cut_into_pieces_and_late_the_client_sees_what_it_sees_directly(
    bench: Bench, postgres: Postgres, units: list[Unit], before: Line, behind: Line
) -> None:
    expected = converse(bench, units, direct=postgres.port)
    seen = converse(bench, units, before=before, behind=behind)
    assert seen.frames == expected.frames
    assert not seen.part
    judge(postgres, seen, units)
    assert ledger(postgres, seen.run) == ledger(postgres, expected.run)


def ran(gate: ApprovingGate) -> list[str]:
    """How the acts ended that ran. What stands behind an error is granted or not as the error comes late or early."""
    return [status for _, status in gate.ended if status != "not-executed"]


@EXAMPLES
@given(units=conversations((*PLAIN, *POLICY, *POLICY)), before=lines, behind=lines)
def test_whatever_policy_says_pieces_and_delays_change_nothing(
    bench: Bench, postgres: Postgres, units: list[Unit], before: Line, behind: Line
) -> None:
    expected = converse(bench, units)
    seen = converse(bench, units, before=before, behind=behind)
    assert seen.frames == expected.frames
    assert seen.gate is not None
    assert expected.gate is not None
    assert ran(seen.gate) == ran(expected.gate)
    judge(postgres, seen, units)
    assert ledger(postgres, seen.run) == ledger(postgres, expected.run)


SEVERAL = (*PLAIN, *POLICY)


@EXAMPLES
@given(units=conversations(SEVERAL), way=cuts, upwards=st.booleans())
def test_the_targets_line_is_cut(bench: Bench, postgres: Postgres, units: list[Unit], way: Way, upwards: bool) -> None:
    expected = converse(bench, units)
    behind = Line(up=way) if upwards else Line(down=way)
    seen = converse(bench, units, behind=behind)
    prefix_then_error(seen, expected)
    judge(postgres, seen, units)


@EXAMPLES
@given(units=conversations(SEVERAL), way=cuts, upwards=st.booleans())
def test_the_clients_line_is_cut(bench: Bench, postgres: Postgres, units: list[Unit], way: Way, upwards: bool) -> None:
    expected = converse(bench, units)
    before = Line(up=way) if upwards else Line(down=way)
    seen = converse(bench, units, before=before)
    if way.cut is Cut.CLOSE:
        prefix_then_error(seen, expected, clear=False)
    judge(postgres, seen, units)


@EXAMPLES
@given(
    units=conversations(SEVERAL),
    what=st.sampled_from(["cancel", "revoke", "cancel", "both"]),
    delays=st.tuples(st.floats(0, 0.03), st.floats(0, 0.02)),
)
def test_it_is_cancelled_and_revoked_at_any_moment(
    bench: Bench, postgres: Postgres, units: list[Unit], what: str, delays: tuple[float, float]
) -> None:
    """Whatever the moment hits, every act has one outcome, and the ledger agrees with it."""
    run = new_run()
    with client(bench.port, application=run.decode()) as one:
        assert one.log_in()
        gate = bench.core.gates[-1]
        assert isinstance(gate, ApprovingGate)
        beside = threading.Thread(target=disturb, args=(bench, one, gate, what, delays))
        beside.start()
        for unit in units:
            one.send(unit.messages.replace(RUN, run))
            if not one.until_ready(unit.ready):
                break
        beside.join()
        ready = sum(kind == "Z" for kind, _ in one.seen)
        one.send(wire.TERMINATE)
    until(lambda: bool(gate.closed), what="the session's end")
    judge(postgres, Result(run, [], b"", one.ended, ready, gate), units)
    assert bench.failures == []


def disturb(bench: Bench, one: Client, gate: ApprovingGate, what: str, delays: tuple[float, float]) -> None:
    time.sleep(delays[0])
    if what != "revoke":
        with socket.create_connection(("127.0.0.1", bench.port), timeout=20) as cancelling:
            cancelling.sendall(wire.cancel_request(*one.key))
            cancelling.recv(1)
    time.sleep(delays[1])
    if what != "cancel" and gate.on_revoked is not None:
        revoked = gate.on_revoked
        bench.call(lambda: revoked("by the test"))


def prefix_then_error(seen: Result, expected: Result, *, clear: bool = True) -> None:
    """The same frames up to some point; what ends it early is an error that says so, unless it is within a message."""
    common = 0
    while common < min(len(seen.frames), len(expected.frames)) and seen.frames[common] == expected.frames[common]:
        common += 1
    rest = seen.frames[common:]
    if not rest and common == len(expected.frames):
        return
    if clear and not seen.part:
        assert rest, "the session ended without a word"
    assert len(rest) <= 1, rest
    for kind, raw in rest:
        assert kind == "E", rest
        fields = wire.parse_fields(raw)
        assert fields["S"] == b"FATAL", fields
        assert fields["C"][:2] in {b"08", b"57"}, fields
    assert seen.ended


@pytest.mark.parametrize("make", SEVERAL, ids=lambda make: make.__name__)
def test_one_byte_at_a_time(bench: Bench, postgres: Postgres, make: object) -> None:
    """Every kind of unit once, on both lines, whatever hypothesis chose."""
    units = [make(1)]  # type: ignore[operator]  # one of SEVERAL
    expected = converse(bench, units, direct=postgres.port if units[0].plain else 0)
    single = Line(up=Way(pieces=(1,), gap=0.0), down=Way(pieces=(1, 1, 1, 1, 1, 1, 1, 1, 4000), gap=0.0))
    seen = converse(bench, units, before=single, behind=single)
    assert seen.frames == expected.frames
    judge(postgres, seen, units)


def test_the_judge_notices_what_ran_twice(bench: Bench, postgres: Postgres) -> None:
    units = [PLAIN[0](1)]
    result = converse(bench, units)
    judge(postgres, result, units)
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("INSERT INTO ledger SELECT * FROM ledger WHERE run = %s", (result.run.decode(),))
    with pytest.raises(AssertionError, match="twice"):
        judge(postgres, result, units)


def test_the_judge_notices_a_lie(bench: Bench, postgres: Postgres) -> None:
    units = [PLAIN[0](1)]
    result = converse(bench, units)
    assert result.gate is not None
    ((text, outcome),) = result.gate.ends
    outcome.status = "failed"
    result.gate.ends[:] = [(text, outcome)]
    with pytest.raises(AssertionError):
        judge(postgres, result, units)
