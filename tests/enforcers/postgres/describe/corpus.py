"""Statements and what each must be described as.

A line is `statement ¦ verbs ¦ relations ¦ columns ¦ opaque codes`. verbs without `sql.`; relations as
`name:access+access:via`, via left out when direct; columns as `relation.column` with `=` output, `?` other, `!` write.
Everything listed must be there and nothing else may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TEXT = Path(__file__).with_name("corpus.txt").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Case:
    sql: str
    verbs: frozenset[str]
    relations: frozenset[str]
    columns: frozenset[str]
    opaque: frozenset[str]


def _case(line: str) -> Case:
    parts = [part.strip() for part in line.split("¦")]
    words = [frozenset(part.split()) for part in (*parts[1:], "", "", "", "")]
    return Case(parts[0], words[0], words[1], words[2], words[3])


CASES = [_case(line) for line in TEXT.strip().split("\n")]
