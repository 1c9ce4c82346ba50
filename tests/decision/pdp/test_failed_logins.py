"""A flood of failed logins becomes a count; a few stay records of their own."""

from __future__ import annotations

from decision.pdp.failed_logins import ALONE, CODES, FailedLogins
from tests.decision.store.support import ManualClock


def test_few_are_alone_and_the_rest_of_an_interval_is_counted() -> None:
    clock = ManualClock()
    failed = FailedLogins(clock)
    assert [failed.alone("TOKEN_SIGNATURE") for _ in range(ALONE + 3)] == [True] * ALONE + [False] * 3
    assert failed.take() == {"TOKEN_SIGNATURE": 3}
    assert failed.take() == {}
    assert not failed.alone("TOKEN_EXPIRED")
    clock.pass_(1)
    assert failed.alone("TOKEN_EXPIRED")
    assert failed.take() == {"TOKEN_EXPIRED": 1}


def test_the_counts_are_bounded() -> None:
    failed = FailedLogins(ManualClock())
    for n in range(ALONE + CODES + 50):
        failed.alone(f"C{n}")
    counts = failed.take()
    assert len(counts) == CODES + 1
    assert counts["OTHER"] == 50
