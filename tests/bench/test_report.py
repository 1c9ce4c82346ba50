"""What a run's rows become: bounds that fail it, and the generated part of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import report, run
from tests.bench.world import BOUNCER, DIRECT, POLICY

ROWS: list[dict[str, object]] = [
    {
        "cell": "pgbench -S simple c1",
        "group": "select",
        "unit": "tps",
        "rungs": {
            DIRECT: {"rate": 1000.0, "ratio": 1.0, "cpu_us": {}},
            POLICY: {"rate": 260.0, "ratio": 0.26, "cpu_us": {"gateway": 60.0, "decision": 20.0, "opa": 1.5}},
        },
        "missing": {BOUNCER: "no package"},
        "ratio": 0.26,
        "floor": 0.25,
        "goal": 0.3,
        "sync_ms": 0.2,
    },
    {"cell": "decision that misses", "group": "misses", "median_ms": 3.5, "ceiling": 3.0},
    {"cell": "held", "group": "held", "value": 0.01, "ceiling": 0.05, "kib_each": 200.0, "kib_ceiling": 100.0},
    {"cell": "workers", "group": "workers", "ratio": 1.4, "floor": 1.5},
]


def test_every_bound_outside_is_named() -> None:
    assert report.missed(ROWS) == [
        "decision that misses: 3.5 is above 3.0",
        "held: 200.0 KiB each is above 100.0",
        "workers: 1.4 is below 1.5",
    ]
    assert report.behind_goal(ROWS) == ["pgbench -S simple c1: 0.26, the goal is 0.3"]


def test_the_generated_part_replaces_the_last_one_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    text = report.markdown(ROWS, heading="### today", command="bench", machine="a machine", sync_ms=0.2)
    report.write(page, text)
    report.write(page, text)
    written = page.read_text()
    assert written.startswith(f"before\n{report.BEGIN}\n\n### today")
    assert written.endswith(f"{report.END}\nafter\n")
    assert "old" not in written
    row = "| `pgbench -S simple c1` (the log's disk syncs in 0.2 ms) | 1,000 tps | – | – | – | 0.260 |"
    assert written.count(row) == 1
    assert "Not measured: pgbouncer: no package." in written
    page.write_text("no marks")
    with pytest.raises(RuntimeError):
        report.write(page, text)


def test_the_page_has_the_marks() -> None:
    text = run.DOCUMENT.read_text()
    assert report.BEGIN in text
    assert report.END in text


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [("", True), ("bulk", True), ("select,bulk", True), ("SELECT of", True), ("write", False), ("prepared c8", False)],
)
def test_cells_are_chosen_by_group_or_by_part_of_their_name(asked: str, *, chosen: bool) -> None:
    options = run.parse(["--cells", asked])
    assert run.wanted(options, "bulk", "SELECT of 500,000 rows") is chosen


def test_quick_is_quick() -> None:
    options = run.parse(["--quick", "--rounds", "9"])
    assert (options.seconds, options.rounds) == (3, 1)
