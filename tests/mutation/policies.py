"""The same for Rego: each rule of masking and of duties taken away, each condition of it taken away or turned round.

Rules stand apart by empty lines, a condition is a line of a rule's body. What the compiler refuses is stillborn: no
policy at all is no weaker policy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from decision.cli import staging
from decision.cli.opa import find

ROOT = Path(__file__).resolve().parents[2]
REGO = ROOT / "rego"
FILES = {  # by what --modules calls them
    name: tuple(path for path in sorted((REGO / folder).glob("*.rego")) if not path.stem.endswith("_test"))
    for name, folder in (("rego", "masking"), ("duties", "duties"))
}
_CONDITION = re.compile(r"^\t(?!\t)(?P<text>[^\s}\]#].*[^{\[(,])$")
_PATIENCE_S = 300


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
    return _tested(path, change.text)


def unchanged() -> None:
    """Raises RuntimeError where the tests of the policies as they are fail: then nothing can be told of a change."""
    first = FILES["rego"][0]
    said = _tested(first, first.read_text(encoding="utf-8"))
    if said:
        raise RuntimeError(f"without any change: {said}")


def _tested(path: Path, text: str) -> str:
    with tempfile.TemporaryDirectory(prefix="twokey-mutation-") as made:
        folder = staging.stage(REGO, None, Path(made))
        (folder / path.relative_to(REGO)).write_text(text, encoding="utf-8")
        return _opa(folder, path.parent.name) or _opa(folder, "")


def _opa(folder: Path, only: str) -> str:
    """A quick run of the tests beside the rule comes first; of all of them afterwards."""
    command = [str(find(os.environ)), "test", "--timeout=120s", "--bundle", "--format=json"]
    command += ["--capabilities", str(REGO / "capabilities.json"), str(folder)]
    if only:
        command += ["--run", only]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    try:
        results = json.loads(done.stdout)
    except ValueError:
        return "stillborn"
    return next((f"{item['package']}.{item['name']}" for item in results if item.get("fail") or item.get("error")), "")
