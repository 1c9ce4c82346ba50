"""A connection's classification file as the command line reads it: to check it, and to propose lines for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decision import columns
from decision.cli import located, schema
from decision.cli.errors import ConfigError, Problem
from decision.cli.located import Located
from decision.columns import ColumnName


@dataclass(frozen=True, slots=True)
class Entry:
    key: str  # as the file spells it
    label: str


@dataclass(frozen=True, slots=True)
class Classification:
    document: Located
    entries: Mapping[ColumnName, Entry]

    def problem(self, column: ColumnName, message: str, fix: str) -> Problem:
        return self.document.problem((self.entries[column].key,), message, fix)


def load(path: Path, shown: str) -> Classification:
    """Raises ConfigError with every fault of the file, each with its line, key and fix."""
    document = located.load(path, shown)
    if document.data is None:
        return Classification(document, {})
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), "must be a mapping", "lines of schema.table.column: label")])
    entries: dict[ColumnName, Entry] = {}
    problems: list[Problem] = []
    for key, label in document.data.items():
        if not isinstance(label, str) or not schema.NAME.fullmatch(label):
            problems.append(document.problem((key,), "the label must be a lower-case word", "for example pii"))
        try:
            column = columns.parse(key)
        except columns.ColumnNameError as error:
            problems.append(document.problem((key,), str(error), error.fix))
            continue
        if column in entries:
            message = f"is the column of line {document.line((entries[column].key,))}"
            problems.append(document.problem((key,), message, "keep one of the two"))
        entries[column] = Entry(key, str(label))
    if problems:
        raise ConfigError(problems)
    return Classification(document, entries)
