"""How the rows that a statement writes can be counted before they stand, so that max-rows can take them back.

The command tag counts the rows of a statement's own INSERT, UPDATE, DELETE, MERGE, COPY FROM or CREATE TABLE AS, and
nothing of what its WITH, its functions, cascades, triggers and rules write. Those are counted by the target's own
statistics of the transaction, for the tables that the description says are written. What neither can count can't be
bounded, and is refused (design, invariant 1).

Source: PostgreSQL documentation, "CommandComplete" in "Message Formats"; pg_stat_get_xact_tuples_* in "The Cumulative
Statistics System".
"""

from __future__ import annotations

import enum
from typing import Final

from enforcers.postgres.description import Control, Description

_TAGGED = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "COPY"})
_MADE = frozenset({"CREATE TABLE AS", "SELECT INTO"})  # tagged `SELECT n`; one with DML inside can't be written
_WRITING = frozenset({"sql.insert", "sql.update", "sql.delete", "sql.merge", "sql.copy-from"})
_UNCOUNTED = frozenset({"sql.truncate", "sql.refresh", "sql.copy-server", "sql.large-object"})
_OWN = frozenset({"direct", "view", "partition", "inheritance"})
_ACCESS = frozenset({"insert", "update", "delete"})

# track_counts: where it is off nothing is counted. $1: the tables.
COUNT_SQL = (
    "SELECT pg_catalog.current_setting('track_counts'), pg_catalog.sum("
    "pg_catalog.pg_stat_get_xact_tuples_inserted(o) OPERATOR(pg_catalog.+) "
    "pg_catalog.pg_stat_get_xact_tuples_updated(o) OPERATOR(pg_catalog.+) "
    "pg_catalog.pg_stat_get_xact_tuples_deleted(o))::pg_catalog.text "
    "FROM pg_catalog.unnest($1::pg_catalog.oid[]) o"
)


class Writes(enum.IntEnum):
    """What of a statement's writes can be counted, and how."""

    NOTHING = 0  # it writes no row
    TAGGED = 1  # its command tag says how many
    COUNTED = 2  # the target's statistics do
    UNKNOWN = 3  # nothing does: it can't be bounded


NOTHING: Final = Writes.NOTHING  # asked several times an act, and a member is looked up by its name each time


def writes_of(description: Description) -> Writes:
    """Cheap where nothing is written, which is the hot path's case."""
    if not (description.writes_or_locks or description.utility or description.opaque):
        return NOTHING
    return _writes_of(description)


def _writes_of(description: Description) -> Writes:
    template = description.template
    if description.control is not Control.NONE:
        return Writes.NOTHING
    if template.opaque or description.single_transaction:
        return Writes.UNKNOWN
    verbs = set(template.verbs)
    if verbs & _UNCOUNTED:
        return Writes.UNKNOWN
    if template.command in _MADE:
        return Writes.UNKNOWN if verbs & _WRITING else Writes.TAGGED
    if not verbs & _WRITING:
        return Writes.NOTHING
    written = [use for use in template.relations if _ACCESS & set(use.access)]
    own = all(use.via in _OWN for use in written)
    # A write inside WITH: the words are not looked for, any WITH takes the way that counts everything.
    if own and template.command in _TAGGED and b"with" not in description.text.lower():
        return Writes.TAGGED
    if not written or any(use.oid == 0 for use in written) or template.command == "COPY":
        return Writes.UNKNOWN
    return Writes.COUNTED


def written_tables(description: Description) -> bytes:
    """The tables whose changes are counted, as the text of an oid[]."""
    oids = sorted({use.oid for use in description.template.relations if _ACCESS & set(use.access)})
    return b"{" + b",".join(str(oid).encode() for oid in oids) + b"}"


def counted(row: list[bytes | None]) -> int | None:
    """The answer to COUNT_SQL; None where the target doesn't count."""
    if len(row) != 2 or row[0] != b"on" or row[1] is None or not row[1].isdigit():
        return None
    return int(row[1])
