"""Which stored columns a constant or parameter met: what carries a label because a classified column has it.

Only what is certain is said: an operand of a comparison whose other side is made of stored columns, and a value
assigned as it is. What a reader is not told of here counts as having met every column of the statement (proto:
Literal). Compared by an operator that yields a boolean the constant goes no further; whatever else is made of it could.
"""

from __future__ import annotations

from typing import Any, Final

from pglast.parser import ParseError, scan

from enforcers.postgres.describe.context import Context, Facts
from enforcers.postgres.describe.lineage import Key, Sources

MAX_LISTED: Final = 64  # more would weigh on every question; those that are left out count as having met everything
# As in decision.redaction, which finds them again by their number.
_CONSTANTS: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST", "TRUE_P", "FALSE_P"})


def met(context: Context, node: Any, sources: Sources) -> None:
    """A constant or parameter, cast or not, beside what depends on these columns."""
    if sources:
        _note(context, node, sources)


def assigned(context: Context, node: Any, kept: Sources) -> None:
    """A constant or parameter that is stored in these columns (flows.kept)."""
    if kept:
        _note(context, node, kept, stored=True)


def bounds(context: Context, node: Any) -> None:
    """A constant of LIMIT or OFFSET, which meets no column."""
    if isinstance(node, dict) and "A_Const" in node:
        _note(context, node, {})


def _note(context: Context, node: Any, sources: Sources, *, stored: bool = False) -> None:
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    facts = context.facts
    if not context.top or not isinstance(node, dict) or len(facts.literals) >= MAX_LISTED:
        return
    if "A_Const" in node:
        location = int(node["A_Const"].get("location", 0))
        facts.literals.setdefault(location, set()).update(sources)
        if stored:
            facts.stored_literals.add(location)
    elif "ParamRef" in node:
        number = int(node["ParamRef"].get("number", 0))
        uses, columns = facts.met_parameters.get(number, (0, frozenset[Key]()))
        facts.met_parameters[number] = (uses + 1, columns.union(sources))
        if stored:
            facts.stored_parameters.add(number)


def found(facts: Facts, text: bytes, offset: int) -> tuple[dict[int, set[Key]], dict[int, frozenset[Key]]]:
    """By a constant's place among the text's constants, from 1, and by a parameter's number. `text` begins at `offset`
    of what the facts' locations count in. A parameter counts where each of its uses is known."""
    moves = facts.data_statements > 1  # what one stores another may store elsewhere (WITH … RETURNING)
    parameters = {
        number: columns
        for number, (uses, columns) in facts.met_parameters.items()
        if uses == facts.parameter_uses.get(number) and not (moves and number in facts.stored_parameters)
    }
    if not facts.literals:
        return {}, parameters
    try:
        decoded = text.decode()
        begins = [token.start for token in scan(decoded) if token.name in _CONSTANTS]
    except (UnicodeDecodeError, ParseError):
        return {}, parameters
    if not decoded.isascii():
        begins = [len(decoded[:start].encode()) for start in begins]
    places = {start: place for place, start in enumerate(begins, start=1)}
    constants: dict[int, set[Key]] = {}
    for location, columns in facts.literals.items():
        if moves and location in facts.stored_literals:
            continue
        own = location - offset
        if text[own : own + 1] == b"-":  # a negative number is one constant to the parser, two words to the scanner
            own = next((start for start in begins if start > own), own)
        place = places.get(own)
        if place is not None:
            constants.setdefault(place, set()).update(columns)
    return constants, parameters
