"""Cases as data: a file a family, a block a case.

    -- what it tries | verdict=masked modes=simple,binary min=16 ext=dblink time
    SELECT … ;
    SELECT … ;

A line is one message; one that begins with a space goes on with the line before. `\\2 SQL` is said in a second session
of the same role, `\\call name(types)<TAB>value…` is a FunctionCall. Blocks stand apart by an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(r"^-- (?P<name>[^|]+?)(?: \| (?P<words>.*))?$")
_WORDS = {"verdict", "modes", "min", "max", "ext", "time", "void", "free"}


@dataclass(frozen=True, slots=True)
class Case:
    """verdict: denied, masked, any; permitted: a join along a foreign key, which tells which rows belong together and
    which the shipped data lets through (masking.yaml), so that a and b differ while nothing classified is shown.
    void: why a direct run can't show the secret (else it must). free: answers may differ from run to run in what is no
    secret."""

    family: str
    name: str
    steps: tuple[str, ...]
    verdict: str = "any"
    modes: tuple[str, ...] = ()
    oldest: int = 0
    newest: int = 99
    extension: str = ""
    timed: bool = False
    void: str = ""
    free: bool = False

    @property
    def title(self) -> str:
        return f"{self.family}: {self.name}"

    @property
    def single(self) -> bool:
        """One plain statement, which can travel in every way that the protocol has."""
        return len(self.steps) == 1 and not self.steps[0].startswith("\\")

    def fits(self, version: int, extensions: frozenset[str]) -> bool:
        return self.oldest <= version <= self.newest and (not self.extension or self.extension in extensions)


def load(folder: Path) -> list[Case]:
    found = [case for path in sorted(folder.glob("*.sql")) for case in read(path)]
    titles = [case.title for case in found]
    if len(set(titles)) != len(titles):
        raise ValueError(f"named twice: {sorted({title for title in titles if titles.count(title) > 1})}")
    return found


def read(path: Path) -> Iterator[Case]:
    defaults: dict[str, str] = {}
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8").strip()):
        lines = block.split("\n")
        head = _HEAD.match(lines[0])
        if head is None:
            raise ValueError(f"{path.name}: a case begins with `-- name`, not {lines[0]!r}")
        words = dict(word.partition("=")[::2] for word in (head["words"] or "").split())
        if words.keys() - _WORDS:
            raise ValueError(f"{path.name}: {head['name']}: what is {sorted(words.keys() - _WORDS)}?")
        if head["name"] == "defaults":
            defaults = words
            continue
        yield _case(path.stem, head["name"], tuple(_steps(lines[1:])), {**defaults, **words})


def _steps(lines: list[str]) -> list[str]:
    steps: list[str] = []
    for line in lines:
        if line.startswith(" ") and steps:
            steps[-1] += "\n" + line
        else:
            steps.append(line.rstrip())
    if not steps:
        raise ValueError("a case without a statement")
    return [step if step.startswith("\\") else step.removesuffix(";") for step in steps]


def _case(family: str, name: str, steps: tuple[str, ...], words: dict[str, str]) -> Case:
    return Case(
        family=family,
        name=name,
        steps=steps,
        verdict=words.get("verdict", "any"),
        modes=tuple(words.get("modes", "").split(",")) if words.get("modes") else (),
        oldest=int(words.get("min", 0)),
        newest=int(words.get("max", 99)),
        extension=words.get("ext", ""),
        timed="time" in words,
        void=words.get("void", ""),
        free="free" in words,
    )
