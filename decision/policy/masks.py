"""Which maskers a policy's data would give to each classified column: what is checked against the target at load.

The same choice as rego/masking makes for columns of the classification file. Labels of the target's own catalog, and
other policies than the shipped ones, are seen only when an act is decided; the gateway then refuses what doesn't fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from decision import columns
from decision.columns import ColumnName
from decision.identity.documents import Document
from decision.policy.classification import Classification

_ALL = "*"


@dataclass(frozen=True, slots=True)
class PlannedMask:
    """where: the places of masker and label, each `file:line`, for whoever has to mend one of them."""

    column: ColumnName
    label: str
    masker: Mapping[str, object]
    where: str = ""


def planned(classification: Classification, masking: Document, roles: object) -> tuple[PlannedMask, ...]:
    """Of one connection. masking: masking.yaml; roles: the data of roles.yaml."""
    found: list[PlannedMask] = []
    for key, label in classification.labels.items():
        for masker, path in _maskers(label, _mapping(masking.data), _mapping(roles)):
            where = f"{masking.place(path)}, {classification.places.get(key, '')}"
            found.append(PlannedMask(columns.parse(key), label, masker, where))
    return tuple(found)


_Path = tuple[str, ...]


def _maskers(
    label: str, masking: Mapping[str, object], roles: Mapping[str, object]
) -> list[tuple[Mapping[str, object], _Path]]:
    """Of one label, each once: what roles have that see it masked, and where in masking.yaml it is said."""
    every = _mapping(masking.get("maskers"))
    default, place = (every[label], ("maskers", label)) if label in every else (masking.get("default"), ("default",))
    clear, own = _mapping(masking.get("clear")), _mapping(masking.get("roles"))
    found: list[tuple[Mapping[str, object], _Path]] = []
    for role in roles:
        seen = clear.get(role)
        if isinstance(seen, list) and (_ALL in seen or label in seen):
            continue
        of_role = _mapping(own.get(role))
        masker, path = (of_role[label], ("roles", role, label)) if label in of_role else (default, place)
        if isinstance(masker, Mapping) and all(masker != known for known, _ in found):
            found.append((masker, path))
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
