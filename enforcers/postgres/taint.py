"""What a session's temporary tables hold of classified columns, as the session machine keeps it.

A value that was stored in a temporary table could go on from there into a table that others read. So the session keeps
in mind where it came from: which column, and which labels the target's catalog gave it then. Names last until the next
statement that resolves any (catalog/tainted.py finds the columns they mean, which renaming doesn't change).
Nothing is forgotten while the table may be there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from twokey.type.v1 import operation_pb2

from enforcers.postgres.named_columns import Named

MOST = 4096  # pairs of a column and where its values came from; beyond it nothing more is promised to be kept


class Origin(NamedTuple):
    """A classified column as it was when values of it were stored. key: its table's oid and number, once known."""

    name: Named
    labels: frozenset[str]  # of the target's catalog; those of the classification are found by name
    key: tuple[int, int] | None = None


@dataclass(slots=True)
class Taint:
    """One session's.

    named: by the stored column's name, until that is looked up. held: by its table's oid and number.
    """

    named: dict[Named, set[Origin]] = field(default_factory=dict)
    held: dict[tuple[int, int], set[Origin]] = field(default_factory=dict)
    blurred: bool = False  # something ran while nobody could see what the names meant

    @property
    def full(self) -> bool:
        return sum(map(len, self.named.values())) + sum(map(len, self.held.values())) >= MOST

    def note(self, template: operation_pb2.SqlOperation) -> None:
        """The statement is being sent: what it may store."""
        labels = {(item.schema, item.relation, item.column): item.labels for item in template.column_labels}
        for flow in template.flows:
            if flow.carried:
                source = (flow.source.schema, flow.source.relation, flow.source.column)
                target = (flow.target.schema, flow.target.relation, flow.target.column)
                origin = Origin(source, frozenset(labels.get(source, ())))
                self.named.setdefault(target, set()).add(origin)

    def unseen(self) -> None:
        """The session's objects couldn't be looked at: by the next look a table may have another name."""
        self.blurred = self.blurred or bool(self.named)
