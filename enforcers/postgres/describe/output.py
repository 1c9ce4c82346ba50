"""What the target says about a result, held against what was described: RowDescription is ground truth."""

from __future__ import annotations

from collections.abc import Sequence

from enforcers.postgres.description import Description


def check_row_description(description: Description, fields: Sequence[tuple[str, int, int]]) -> str | None:
    """fields: (name, table oid, attribute number) of RowDescription (protocol chapter, Message Formats).

    None when they agree, else a sentence for people. A computed column that we think is a bare one, or the reverse,
    is a disagreement: what would be masked is then not what comes. Names are not compared: they decide nothing.
    """
    if not description.template.returns_rows:
        return "the target returns rows, the description says none" if fields else None
    if description.output_open:
        return None  # nothing is claimed about single columns; every column below counts as read otherwise
    if description.utility and not description.wire:
        return None  # SHOW, EXPLAIN: the server's own text
    if len(fields) != len(description.wire):
        return f"the target returns {len(fields)} columns, {len(description.wire)} were described"
    for index, ((name, oid, attribute), (wire_oid, wire_attribute)) in enumerate(
        zip(fields, description.wire, strict=True), start=1
    ):
        origin = description.template.output[index - 1].HasField("origin")
        if (oid, attribute) == (wire_oid, wire_attribute):
            continue
        if oid == 0 and wire_oid != 0 and not origin:
            continue
        if oid == 0 and origin:
            return f"column {index} ({name}) is computed, a copy was described"
        if wire_oid == 0 and (oid, attribute) in description.others:
            continue  # we took it for computed, which is judged more strictly (a column merged by USING)
        if oid != 0 and attribute <= 0 and not origin:
            continue  # a system column, or a whole row, whose columns all count as read
        return f"column {index} ({name}) comes from another table column than described"
    return None
