"""Which maskers a policy's data would give to each classified column: what is checked against the target at load.

The same choice as rego/masking makes for columns of the classification file. Labels of the target's own catalog, and
other policies than the shipped ones, are seen only when an act is decided; the gateway then refuses what doesn't fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from decision import columns
from decision.columns import ColumnName

_ALL = "*"


@dataclass(frozen=True, slots=True)
class PlannedMask:
    column: ColumnName
    label: str
    masker: Mapping[str, object]


def planned(labels: Mapping[str, str], masking: object, roles: object) -> tuple[PlannedMask, ...]:
    """labels: label by column, of one connection. masking, roles: the data of masking.yaml and roles.yaml."""
    data = _mapping(masking)
    found: list[PlannedMask] = []
    for key, label in labels.items():
        for masker in _maskers(label, data, _mapping(roles)):
            found.append(PlannedMask(columns.parse(key), label, masker))
    return tuple(found)


def _maskers(label: str, masking: Mapping[str, object], roles: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Of one label, each once: what roles have that see it masked."""
    default = _mapping(masking.get("maskers")).get(label, masking.get("default"))
    clear, own = _mapping(masking.get("clear")), _mapping(masking.get("roles"))
    found: list[Mapping[str, object]] = []
    for role in roles:
        seen = clear.get(role)
        if isinstance(seen, list) and (_ALL in seen or label in seen):
            continue
        masker = _mapping(own.get(role)).get(label, default)
        if isinstance(masker, Mapping) and masker not in found:
            found.append(masker)
    return found


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
