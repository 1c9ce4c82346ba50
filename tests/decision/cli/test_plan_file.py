from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from decision.cli.errors import ConfigError
from decision.cli.plan_file import read

HEAD = "connection: crm\nexecutor: executor-7\nintent: tidy\n"
FILE = Path("plan.yaml")


def test_what_is_written_is_what_is_said() -> None:
    found = read(
        FILE,
        HEAD
        + """
not_before: 2026-12-01T08:00:00+01:00
expires: 2026-12-02T08:00:00Z
steps:
  - sql: |
      UPDATE t SET a = $1, b = $2, c = $3, d = $4
    values: [x, [1, 2.50, true, null], {least: 1, most: 9.5}, {one_of: [null]}]
    rows: 3
  - {sql: SELECT 1, rows: {most: 7}, after: 1}
""",
    )
    first, second = found.body.steps
    assert first.operation.sql.values.statement == b"UPDATE t SET a = $1, b = $2, c = $3, d = $4"
    assert [list(rule.one_of) for rule in first.values] == [["x"], ["1", "2.5", "t", "true"], [], []]
    assert [rule.null for rule in first.values] == [False, True, False, True]
    assert (first.values[2].least, first.values[2].most) == ("1", "9.5")
    assert (first.rows_least, first.rows_most, first.after) == (3, 3, 0)
    assert (second.HasField("rows_least"), second.rows_most, second.after) == (False, 7, 1)
    assert found.body.not_before.ToDatetime(UTC) == datetime(2026, 12, 1, 7, tzinfo=UTC)
    assert (found.connection, found.body.role, found.body.executor) == ("crm", "executor", "executor-7")


def test_a_plan_lives_a_day_where_nothing_is_said() -> None:
    found = read(FILE, HEAD + "steps: [{sql: SELECT 1}]")
    left = found.body.expires.ToDatetime(UTC) - datetime.now(UTC)
    assert 23.9 < left.total_seconds() / 3600 <= 24


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (HEAD, 1, "'steps' is missing"),
        (HEAD + "steps: []", 4, "at least 1"),
        (HEAD + "steps:\n  - {sql: ''}", 5, "at least 1"),
        (HEAD + "steps: [{sql: SELECT 1, vlues: [1]}]", 4, "did you mean 'values'"),
        (HEAD + "steps: [{sql: SELECT 1, rows: {least: -1}}]", 4, "greater than or equal to 0"),
        (HEAD + "expires: 1w\nsteps: [{sql: SELECT 1}]", 4, "write 2h, 1d, or"),
        (HEAD + "expires: 2026-12-01T08:00:00\nsteps: [{sql: SELECT 1}]", 4, "is no time"),
        (HEAD + "executor: other\nsteps: [{sql: SELECT 1}]", 4, "keep one of the two"),
    ],
)
def test_a_fault_is_named_with_its_line_and_a_fix(text: str, line: int, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(FILE, text)
    assert told in str(refused.value)
    assert f"plan.yaml:{line}" in str(refused.value)
