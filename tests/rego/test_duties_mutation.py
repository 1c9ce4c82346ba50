"""Each duty rule taken away: its own tests must miss it. The wider search is `make mutate`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rego import harness

_ID = re.compile(r"^# custom: \{id: (DUTY-[A-Z-]+)\}$")


def rules() -> Iterator[tuple[str, Path, tuple[int, int]]]:
    """Id, file, and the lines of the rule with its METADATA: annotations of nothing don't compile."""
    for path in sorted((harness.REGO / "duties").glob("*.rego")):
        lines = path.read_text().split("\n")
        for number, line in enumerate(lines):
            found = _ID.match(line)
            if found is not None:
                start = max(index for index in range(number) if lines[index] == "# METADATA")
                end = next(index for index in range(number, len(lines)) if not lines[index])
                yield found[1], path, (start, end)


RULES = list(rules())


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.stage(tmp_path_factory.mktemp("mutation"), tests=True)


@pytest.mark.parametrize(("rule", "path", "where"), RULES, ids=[rule for rule, _, _ in RULES])
def test_without_the_rule_its_tests_fail(rule: str, path: Path, where: tuple[int, int], staged: Path) -> None:
    target = staged / path.relative_to(harness.REGO)
    whole = target.read_text()
    lines = whole.split("\n")
    target.write_text("\n".join([*lines[: where[0]], *lines[where[1] :]]))
    try:
        only = f"test_{rule.lower().replace('-', '_')}_"
        ran = subprocess.run(
            [harness.opa(), "test", "--bundle", str(staged), "--run", only, "--timeout", "60s"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=harness.ROOT,
        )
    finally:
        target.write_text(whole)
    assert ran.returncode != 0, f"{rule}: nothing misses it"
    assert "FAIL" in ran.stdout or "undefined" in ran.stdout + ran.stderr, ran.stderr


def test_every_duty_is_here() -> None:
    assert len({rule for rule, _, _ in RULES}) == len(RULES) > 20
