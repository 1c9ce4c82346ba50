"""What the detector looks for: every cell of every classified column of both databases, in text and in binary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from enforcers.postgres import wire
from tests.corpus.detector import Detector
from tests.corpus.link import Link

_WORD = re.compile(r"[0-9A-Za-z]{6,}")
_BYTEA, _WORDLESS = 17, frozenset([16, 2950, 829])  # bytea; boolean tells nothing by itself, uuid and macaddr are hex
_LEAST = 6
CLASSIFICATION = Path(__file__).with_name("classification.yaml")


def classified(text: str | None = None) -> Iterator[tuple[str, str]]:
    """(table, column), the table with its schema; of the corpus' own schema where no text is given."""
    for line in (text or CLASSIFICATION.read_text(encoding="utf-8")).splitlines():
        name = line.partition(":")[0]
        yield name.rpartition(".")[0], name.rpartition(".")[2]


def detector(links: list[Link], text: str | None = None) -> Detector:
    """links: direct ones, to each database whose secrets count."""
    texts: set[str] = set()
    values: set[bytes] = set()
    for link in links:
        for table, column in classified(text):
            _learn(link, f"SELECT {column} FROM {table}", texts, values)
        for statement in ("SELECT lo_get(424242)", "SELECT stamp FROM marked", "SELECT word FROM sealed"):
            _learn(link, statement, texts, values)
    return Detector(sorted(texts), sorted(values))


def _is_word(text: str) -> bool:
    return sum(letter.isalpha() for letter in text) > 1 and any(letter.isdigit() for letter in text)


def _learn(link: Link, statement: str, texts: set[str], values: set[bytes]) -> None:
    for code in (0, 1):
        run = wire.parse(b"", statement.encode()) + wire.bind(b"", b"", result_formats=(code,))
        frames = link.ask(run + wire.describe(b"P", b"") + wire.execute(b"") + wire.SYNC)
        kind = next(wire.parse_row_description(raw)[0].type for tag, raw in frames if tag == "T")
        for tag, raw in frames:
            (cell,) = wire.parse_data_row(raw) if tag == "D" else (None,)
            if cell is None or kind == 16:
                continue
            if code:
                if kind not in {25, 1043} and len(cell) >= 4 and cell.strip(b"\0") and len(cell.lstrip(b"\0")) > 2:
                    values.add(cell)
                continue
            text = bytes.fromhex(cell[2:].decode()).decode() if kind == _BYTEA else cell.decode()
            found = [] if kind in _WORDLESS else [w for w in _WORD.findall(text) if _is_word(w)]
            texts.update(found)
            if not found and len(text) >= _LEAST:
                values.add(text.encode())
