"""The same for Rego: each rule of masking taken away, each condition of it taken away or turned round.

Rules stand apart by empty lines, a condition is a line of a rule's body. What the compiler refuses is stillborn: no
policy at all is no weaker policy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from decision.cli.opa import find

ROOT = Path(__file__).resolve().parents[2]
REGO = ROOT / "rego"
FILES = tuple(path for path in sorted((REGO / "masking").glob("*.rego")) if not path.stem.endswith("_test"))
_CONDITION = re.compile(r"^\t(?!\t)(?P<text>[^\s}\]#].*[^{\[(,])$")
_DATA_S = 60


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    line: int
    text: str  # the whole file, changed


def mutants(path: Path) -> Iterator[Change]:
    lines = path.read_text(encoding="utf-8").split("\n")
    counted: Counter[str] = Counter()

    def change(kind: str, shown: str, start: int, end: int, put: list[str]) -> Change:
        name = f"rego/{path.stem}:{kind}:{shown.strip()[:70]}"
        counted[name] += 1
        name += f"#{counted[name]}" if counted[name] > 1 else ""
        return Change(name, start + 1, "\n".join([*lines[:start], *put, *lines[end:]]))

    for start, end in _rules(lines):
        yield change("rule", lines[start], start, end, [])
        for number in range(start + 1, end - 1):
            found = _CONDITION.match(lines[number])
            if found is None:
                continue
            text = found["text"]
            yield change("condition", f"{lines[start][:30]} / {text}", number, number + 1, [])
            turned = text.removeprefix("not ") if text.startswith("not ") else f"not {text}"
            if not text.startswith("some ") and ":=" not in text:
                yield change("turned", f"{lines[start][:30]} / {text}", number, number + 1, [f"\t{turned}"])


def _rules(lines: list[str]) -> Iterator[tuple[int, int]]:
    """(first line, the one after the last) of each rule, without its METADATA."""
    start = None
    for number, line in enumerate([*lines, ""]):
        if line and not line.startswith(("#", "package", "import")) and start is None:
            start = number
        elif not line and start is not None:
            yield start, number
            start = None


def killed(path: Path, change: Change) -> str:
    """The first test that fails, "stillborn", or "" when none does."""
    with tempfile.TemporaryDirectory(prefix="twokey-mutation-") as made:
        folder = Path(made) / "rego"
        shutil.copytree(REGO, folder)
        (folder / path.relative_to(REGO)).write_text(change.text, encoding="utf-8")
        done = _opa(folder, "masking")
        return done or _opa(folder, "")


def _opa(folder: Path, only: str) -> str:
    command = [str(find(os.environ)), "test", "--bundle", "--capabilities", str(folder / "capabilities.json"), str(folder)]
    if only:
        command += ["--run", only]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DATA_S, check=False)
    if "error" in done.stderr or "rego_" in done.stdout + done.stderr and "FAIL" not in done.stdout:
        return "stillborn"
    failed = re.search(r"^(data\.\S+): (?:FAIL|ERROR)", done.stdout, re.M)
    return failed[1] if failed else ("" if done.returncode == 0 else "a test")
