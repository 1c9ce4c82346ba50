"""A connection's classification file, read for policy: columns under the one spelling that Rego looks them up by.

Other kinds of connection name their resources otherwise; their keys are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from decision import columns
from decision.identity.documents import Document, parse, read_bytes

_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Classification:
    """Of one connection: the label of each column, and where it is given, as `file:line`."""

    labels: Mapping[str, str]
    places: Mapping[str, str]


def read(path: Path | None, *, kind: str, masking: Document | None) -> Classification:
    """masking: masking.yaml, where the shipped policies read it. Raises PolicyLoadError."""
    if path is None:
        return Classification({}, {})
    document = parse(read_bytes(path), str(path))
    if document.data is None:
        return Classification({}, {})
    if not isinstance(document.data, dict):
        document.fail((), "is not a mapping", "write lines such as `public.customers.email: email`")
    found: dict[str, str] = {}
    places: dict[str, str] = {}
    for key, value in document.data.items():
        column = _column(document, key) if kind == "postgres" else key
        if column in found:
            document.fail((key,), f"is {column}, which stands above already", "keep one of the two")
        found[column] = _label(document, key, value)
        places[column] = document.place((key,))
        if masking is not None:
            _masked_somehow(document, key, found[column], masking)
    return Classification(found, places)


def uncommitted(
    derived: Mapping[str, Mapping[str, str]], files: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """Of the derived labels, by connection: those that no file has yet. What a person wrote there counts instead."""
    return {
        name: found
        for name, labels in files.items()
        if (found := {column: label for column, label in derived.get(name, {}).items() if column not in labels})
    }


def _column(document: Document, key: str) -> str:
    try:
        return str(columns.parse(key))
    except columns.ColumnNameError as error:
        document.fail((key,), str(error), error.fix)


def _label(document: Document, key: str, value: object) -> str:
    if not isinstance(value, str) or not _LABEL.match(value):
        document.fail((key,), "has no label", "give it one of a-z, 0-9, '.', '_' and '-', such as `email`")
    return value


def _masked_somehow(document: Document, key: str, label: str, masking: Document) -> None:
    """A label that no masker is for, or that masking.yaml's own list doesn't have, is refused at load."""
    data = masking.data
    if not isinstance(data, Mapping):
        return  # the policies say so themselves: they deny everything
    maskers, known = data.get("maskers"), data.get("labels")
    if isinstance(known, list) and label not in known:
        document.fail((key,), f"{label!r} is no label of {masking.file}", _near(label, known))
    if "default" not in data and not (isinstance(maskers, Mapping) and label in maskers):
        document.fail(
            (key,), f"has the label {label!r}, for which {masking.file} has no masker", "give it one, or a `default`"
        )


def _near(label: str, known: Collection[object]) -> str:
    words = sorted(map(str, known))
    near = get_close_matches(label, words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(words)}, or add it to `labels`"
