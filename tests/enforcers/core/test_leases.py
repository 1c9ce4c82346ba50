"""The lease table on a clock of its own."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from enforcers.core.leases import MAX_TTL, SILENCE, LeaseTable, Scope
from enforcers.core.ports import Answer, Ruling

RULING = Ruling(answer=Answer.ALLOWED, decision="dec_1", leased=True, window=(1, 1.0))
SCOPE = Scope(subject=("iss", "sub"), actors=(("iss", "agent"),), role="planner", connection="crm")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def table(size: int = 10) -> tuple[LeaseTable, Clock]:
    clock = Clock()
    made = LeaseTable(size=size, clock=clock)
    made.heard("rev1")
    return made, clock


def keep(leases: LeaseTable, key: bytes, ttl: float = 60.0, now: float = 100.0) -> bool:
    return leases.store(key, RULING, ttl=ttl, asked=now, version=leases.version)


def test_nothing_is_kept_before_the_stream_spoke() -> None:
    leases = LeaseTable(clock=Clock())
    assert not keep(leases, b"k")
    assert leases.get(b"k") is None


def test_a_lease_ends_by_its_own_time_counted_from_the_asking() -> None:
    leases, clock = table()
    assert keep(leases, b"k", ttl=2.0, now=99.0)
    assert leases.get(b"k") is RULING
    clock.now = 100.9
    assert leases.get(b"k") is RULING
    clock.now = 101.0
    assert leases.get(b"k") is None
    assert len(leases) == 0


def test_an_endless_lease_is_cut() -> None:
    leases, clock = table()
    assert keep(leases, b"k", ttl=1e12)
    clock.now += MAX_TTL - 1
    leases._alive_until = clock.now + 1
    assert leases.get(b"k") is RULING
    clock.now += 1
    leases._alive_until = clock.now + 1
    assert leases.get(b"k") is None


def test_no_time_to_live_is_none() -> None:
    leases, _ = table()
    for ttl in (0.0, -1.0, float("nan")):
        assert not keep(leases, b"k", ttl=ttl)


def test_silence_serves_nothing_and_ends_all_when_the_stream_is_back() -> None:
    leases, clock = table()
    keep(leases, b"k")
    clock.now += SILENCE
    assert not leases.alive
    assert leases.get(b"k") is None
    assert not keep(leases, b"j", now=clock.now)
    stream = leases.stream
    leases.heard("rev1")
    assert leases.stream > stream
    assert leases.get(b"k") is None
    assert keep(leases, b"k", now=clock.now)


def test_a_heartbeat_in_time_keeps_them() -> None:
    leases, clock = table()
    keep(leases, b"k")
    for _ in range(10):
        clock.now += SILENCE - 0.1
        leases.heard("rev1")
    assert leases.get(b"k") is RULING


def test_a_new_revision_ends_all() -> None:
    leases, _ = table()
    keep(leases, b"k")
    before = leases.prefix(SCOPE)
    leases.heard("rev2")
    assert leases.get(b"k") is None
    assert leases.prefix(SCOPE) != before


def test_ddl_ends_its_connections_only() -> None:
    leases, _ = table()
    other = Scope(subject=SCOPE.subject, actors=SCOPE.actors, role=SCOPE.role, connection="erp")
    crm, erp = leases.prefix(SCOPE), leases.prefix(other)
    keep(leases, crm)
    keep(leases, erp)
    leases.drop_connection("crm")
    assert leases.prefix(SCOPE) != crm
    assert leases.prefix(other) == erp
    assert leases.get(erp) is RULING


def test_it_is_bounded() -> None:
    leases, _ = table(size=3)
    for number in range(10):
        keep(leases, bytes([number]))
    assert len(leases) == 3


TEXT = st.text(max_size=3)
SCOPES = st.builds(
    Scope,
    subject=st.tuples(TEXT, TEXT),
    actors=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    role=TEXT,
    connection=TEXT,
    plan=TEXT,
)


@given(one=SCOPES, two=SCOPES)
@example(one=Scope(("", ""), (("plan", "x"),), "", ""), two=Scope(("", ""), (), "", "", "x"))
@example(one=Scope(("", ""), (("x", "y"),), "", ""), two=Scope(("", ""), (), "", "", "x"))
def test_two_scopes_share_a_prefix_only_when_equal(one: Scope, two: Scope) -> None:
    leases, _ = table()
    assert (leases.prefix(one) == leases.prefix(two)) == (one == two)
