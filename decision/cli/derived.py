"""`twokey classify derived`: labels that columns inherited, as lines for a person to commit (ADR 23).

Read from the log's records of them: what is shown is what was audited. A line that the file has is not shown again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from decision.cli import classification, label_lines
from decision.cli.located import parse
from decision.columns import ColumnName
from decision.columns import parse as parse_column

_EVENTS = frozenset(["deriving", "derived", "derivation-refused"])


def of_records(records: Iterable[bytes], connections: frozenset[str]) -> dict[ColumnName, str]:
    """The labels that the log says were derived through these connections, the latest of each column. What was begun
    counts too, unless it was refused: where a crash came between, the label may be in force."""
    found: dict[ColumnName, str] = {}
    begun: dict[ColumnName, str] = {}
    for raw in records:
        record: Any = json.loads(raw)
        if record.get("kind") != "policy" or record.get("event") not in _EVENTS:
            continue
        if record["connection"] not in connections:
            continue
        columns = {parse_column(item["column"]): str(item["label"]) for item in record["columns"]}
        if record["event"] == "deriving":
            begun.update(columns)
            continue
        for column in columns:
            begun.pop(column, None)
        if record["event"] == "derived":
            found.update(columns)
    return found | begun


def open_ones(found: Mapping[ColumnName, str], file: classification.Classification | None) -> dict[ColumnName, str]:
    entries = {} if file is None else file.entries
    return {column: label for column, label in sorted(found.items()) if column not in entries}


def unified(before: str, labels: Mapping[ColumnName, str], shown: str) -> str:
    """A unified diff of the file; "" where there is nothing to add. Raises CliError for a file that isn't YAML."""
    if not labels:
        return ""
    parse(before, shown)
    lines = "".join(f"{label_lines.key(column)}: {label}  # derived\n" for column, label in labels.items())
    return label_lines.unified(before, label_lines.added(before, lines), f"a/{shown}", f"b/{shown}")
