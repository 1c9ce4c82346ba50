"""Every kind of statement: its command, its verbs, and what it does besides, as kinds.txt says; nothing more, nothing
less.

A line is `statement ¦ command ¦ verbs ¦ marks ¦ relations ¦ opaque codes ¦ what a reviewer is told is not covered ¦
functions ¦ inferences`.
Marks are the flags that are set, and members with their values.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Control, Description
from tests.enforcers.postgres.describe.conftest import Server, names

LINES = Path(__file__).with_name("kinds.txt").read_text(encoding="utf-8").strip().split("\n")
_FLAGS = (
    "writes_or_locks", "changes_names", "ddl", "makes_temporary", "copy_in", "copy_out", "single_transaction",
    "changes_grammar", "collects", "output_open", "copy_header", "own_setting", "chain", "quotes",
)  # fmt: skip
_MEMBERS = ("cursor", "prepared", "savepoint")


def told(found: Description) -> str:
    template = found.template
    marks = [flag for flag in _FLAGS if getattr(found, flag)]
    marks += [f"{name}={getattr(found, name)}" for name in _MEMBERS if getattr(found, name)]
    marks += [f"control={found.control.value}"] if found.control is not Control.NONE else []
    marks += [f"rows={found.known_rows}"] if found.known_rows is not None else []
    marks += [f"returns={int(template.returns_rows)}"]
    marks += [f"{item.action}:{item.name}={item.value}" for item in template.settings]
    relations = [
        f"{item.name}:{'+'.join(item.access)}" + (f":{item.via}" if item.via != "direct" else "")
        for item in template.relations
    ]
    return " ¦ ".join(
        (
            template.command,
            " ".join(sorted(verb.removeprefix("sql.") for verb in template.verbs)),
            " ".join(marks),
            " ".join(relations),
            " ".join(sorted({item.code for item in template.opaque_reasons})),
            "; ".join(template.not_covered),
            " ".join(f"{item.schema}.{item.name}:{item.via}" for item in template.functions),
            " ".join(sorted({f"{item.relation}.{item.column}:{item.kind}" for item in template.inferences})),
        )
    )


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split(" ¦ ")[0][:60])
def test_a_kind_of_statement_is_described(server: Server, line: str) -> None:
    sql, _, wanted = line.partition(" ¦ ")
    found = Describer(4).describe_message(sql.encode(), catalog=server.catalog, names=names())
    assert isinstance(found, list)
    (description,) = found
    called = [item.partition(":")[0].partition(".") for item in wanted.split(" ¦")[6].split()]
    if any(schema == "pg_catalog" and not server.catalog.functions_named(name) for schema, _, name in called):
        # What servers learned after 14: one that lacks it refuses the statement, and nothing is believed of it here.
        assert told(description).split(" ¦ ")[4] == "unresolved"
        return
    assert told(description).rstrip() == wanted
