"""What a statement shows, lets be inferred and stores of stored columns, for people (docs/operation.md, "Lineage")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from twokey.type.v1 import operation_pb2

from decision.showing.escape import safe

MAX_LINES: Final = 100  # of each of the three lists; what is left out is counted
_HOW: Final = {"copy": "a copy of", "safe": "computed from", "tells": "computed, by what can tell, from"}


class Named(Protocol):
    """A column by its three names."""

    schema: str
    relation: str
    column: str


def lines(sql: operation_pb2.SqlOperation) -> list[str]:
    """result     1 email: a copy of public.customers.email; then what decides what, and what is stored where."""
    return [
        *_bounded("result", [_output(place, output) for place, output in enumerate(sql.output, start=1)]),
        *_bounded("decides", _inferences(sql.inferences)),
        *_bounded("stores", [_flow(flow) for flow in sql.flows]),
    ]


def _bounded(word: str, texts: Sequence[str]) -> list[str]:
    shown = [f"{word:<10} {text}" for text in texts[:MAX_LINES]]
    if len(texts) > MAX_LINES:
        shown.append(f"{word:<10} and {len(texts) - MAX_LINES} more")
    return shown


def _output(place: int, output: operation_pb2.OutputColumn) -> str:
    found: dict[str, list[str]] = {}
    for source in output.sources:
        how = _HOW.get(source.through, f"computed ({safe(source.through)}) from")
        name = _name(source) + (f" ({safe(source.function)})" if source.function else "")
        found.setdefault(how, []).append(name)
    said = "; ".join(f"{how} {', '.join(names)}" for how, names in found.items())
    return f"{place} {safe(output.name)}: {said or 'depends on no stored column'}"


def _inferences(inferences: Sequence[operation_pb2.Inference]) -> list[str]:
    """One line a column: where it decides something that can be seen."""
    found: dict[str, list[str]] = {}
    for inference in inferences:
        place = safe(inference.kind) + (f" ({safe(inference.function)})" if inference.function else "")
        places = found.setdefault(_name(inference), [])
        if place not in places:
            places.append(place)
    return [f"{name}: {', '.join(places)}" for name, places in found.items()]


def _flow(flow: operation_pb2.Flow) -> str:
    ends = ", ends with the session" if flow.temporary else ""
    if not flow.target.column:
        return f"{_name(flow.source)} without the label of its {safe(flow.kind)}"
    return f"{_name(flow.source)} in {_name(flow.target)} ({safe(flow.kind)}{ends})"


def _name(column: Named) -> str:
    return f"{safe(column.schema)}.{safe(column.relation)}.{safe(column.column)}"
