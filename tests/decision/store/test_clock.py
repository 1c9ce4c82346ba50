from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.store.clock import StoreClock, from_us, to_us
from tests.decision.store.support import ManualClock


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(TypeError):
        to_us(datetime(2026, 1, 1))  # noqa: DTZ001  # what is refused


@given(st.lists(st.tuples(st.sampled_from(["pass", "set", "mark"]), st.integers(-10_000, 10_000))))
def test_it_never_goes_back_never_stands_still_and_is_never_behind_the_wall(steps: list[tuple[str, int]]) -> None:
    clock = ManualClock()
    store = StoreClock(clock)
    before = store.now_us()
    for what, seconds in steps:
        passed = 0
        if what == "pass":
            passed = abs(seconds)
            clock.pass_(passed)
        elif what == "set":
            clock.set_wall(seconds)
        else:
            store.raise_to(before + seconds * 1_000_000)
        now = store.now_us()
        assert now >= before + passed * 1_000_000 - len(steps)  # the monotonic clock is a float: a microsecond a step
        assert now >= to_us(clock.now())
        before = now


def test_a_mark_in_the_future_is_taken_over_and_time_goes_on_from_it() -> None:
    clock = ManualClock()
    store = StoreClock(clock)
    mark = store.now_us() + 3_600_000_000
    assert store.raise_to(mark) == mark
    clock.pass_(2)
    assert store.now_us() == mark + 2_000_000
