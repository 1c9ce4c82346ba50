"""Work done for a session: its failure is the session's, never its caller's."""

from __future__ import annotations

from enforcers.core.supervise import Supervisor


def test_what_a_call_raises_is_reported_and_ends_its_owner_only() -> None:
    reported: list[tuple[str, BaseException]] = []
    failed: list[bool] = []
    supervisor = Supervisor(lambda name, error: reported.append((name, error)))
    done: list[int] = []
    supervisor.call(lambda: done.append(1), name="command", failed=lambda: failed.append(True))
    assert (done, reported, failed) == ([1], [], [])
    error = ValueError("odd")

    def broken() -> None:
        raise error

    supervisor.call(broken, name="command", failed=lambda: failed.append(True))
    assert reported == [("command", error)]
    assert failed == [True]
