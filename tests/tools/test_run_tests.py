"""The passes of `make test` and `make test-all`: which versions, which tests, and what a failure makes of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tools import run_tests


class Recorder:
    def __init__(self, codes: dict[str, int]) -> None:
        self.codes = codes
        self.ran: list[list[str]] = []
        self.compiled: list[bool] = []

    def __call__(self, arguments: Sequence[str], compiled: bool) -> int:
        self.ran.append(list(arguments))
        self.compiled.append(compiled)
        return self.codes.get(arguments[1].removeprefix("maven:"), 0)


def test_newest_and_oldest_or_all() -> None:
    assert run_tests.versions(every=False) == (18, 14)
    assert run_tests.versions(every=True) == (18, 17, 16, 15, 14)


def test_the_first_pass_runs_everything_and_the_others_what_touches_a_server() -> None:
    run = Recorder({})
    assert run_tests.run_passes((18, 14), ["-x", "tests"], run) == 0
    assert run.ran == [
        ["--postgres", "maven:18", "-x", "tests"],
        ["--postgres", "maven:14", "-x", "tests", "-m", "target"],
    ]
    assert run.compiled == [True, False]


def test_the_gateways_own_tests_run_as_plain_python_too() -> None:
    run = Recorder({})
    assert run_tests.run_plain(["-x"], run) == 0
    assert run.ran == [["-x", "-m", "not target", "tests/enforcers"]]
    assert run.compiled == [False]


@pytest.mark.parametrize(
    ("codes", "expected", "passes"),
    [
        ({"18": 1}, 1, 2),  # a failure does not hide what the other version says
        ({"14": 1}, 1, 2),
        ({"14": 5}, 0, 2),  # no test of those asked for touches a server
        ({"18": 5}, 5, 2),  # nothing was tested at all
        ({"18": 2}, 2, 1),  # Ctrl-C
    ],
)
def test_failures(codes: dict[str, int], expected: int, passes: int, capsys: pytest.CaptureFixture[str]) -> None:
    run = Recorder(codes)
    assert run_tests.run_passes((18, 14), [], run) == expected
    assert len(run.ran) == passes
    said = capsys.readouterr().out.splitlines()
    assert len(said) == passes
    assert any("failed" in line for line in said) is (expected != 0)


@pytest.mark.parametrize(
    ("arguments", "processors", "expected"),
    [
        (["tests"], 2, ["--dist", "loadfile", "--no-loadscope-reorder", "-n", "2"]),
        ([], 1, ["--dist", "loadfile", "--no-loadscope-reorder", "-n", "2"]),  # most of a test's time is waiting
        (["-x", "tests"], 8, ["--dist", "loadfile", "--no-loadscope-reorder", "-n", "8"]),
        (["-n", "0"], 8, []),
        (["-n4"], 8, []),
        (["--numprocesses=3"], 8, []),
    ],
)
def test_how_many_processes(arguments: list[str], processors: int, expected: list[str]) -> None:
    assert run_tests.side_by_side(arguments, processors) == expected
