"""Mutated statements, described and put to the real server: whatever it accepts, the description covers.

Seeds are fixed; a find becomes a line of the corpus.
"""

from __future__ import annotations

import random
import re

import psycopg
import pytest

from enforcers.postgres.describe import Describer
from enforcers.postgres.describe.output import check_row_description
from tests.enforcers.postgres.describe.conftest import Server, names
from tests.enforcers.postgres.describe.corpus import CASES
from tests.enforcers.postgres.describe.test_output import _fields, _scanned

TABLES = ("cards", "lines", "orders", "customers", "parts", "contact")
STATEMENTS = [
    re.findall(r"\w+|'[^']*'|[^\s\w]+", case.sql)
    for case in CASES
    if re.match(r"(SELECT|WITH|INSERT|UPDATE|DELETE|TABLE|MERGE)\b", case.sql)
]
WORDS = [word for words in STATEMENTS for word in words]


def _mutate(source: random.Random) -> str:
    words = list(source.choice(STATEMENTS))
    for _ in range(source.randint(1, 3)):
        kind = source.random()
        if kind < 0.5:
            words[source.randrange(len(words))] = source.choice(WORDS)
        elif kind < 0.6:
            words.insert(source.randrange(len(words) + 1), source.choice(WORDS))
        elif kind < 0.7 and len(words) > 1:
            del words[source.randrange(len(words))]
        else:
            places = [index for index, word in enumerate(words) if word in TABLES]
            if places:
                index = source.choice(places)
                words[index : index + 1] = ["(", *source.choice(STATEMENTS), ")", f"x{source.randrange(9)}"]
    return " ".join(words)


@pytest.mark.parametrize("seed", range(8))
def test_what_the_server_accepts_is_covered(server: Server, seed: int) -> None:
    source = random.Random(seed)
    accepted = 0
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 2000")
        for _ in range(1500):
            sql = _mutate(source)
            found = Describer(2).describe_message(sql.encode(), catalog=server.catalog, names=names())
            if not isinstance(found, list) or len(found) != 1 or found[0].template.opaque:
                continue
            if connection.pgconn.prepare(b"", sql.encode()).status != psycopg.pq.ExecStatus.COMMAND_OK:
                continue
            accepted += 1
            assert check_row_description(found[0], _fields(connection, sql)) is None, sql
            if found[0].parameters:
                continue
            try:
                row = connection.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {sql}".encode()).fetchone()
            except psycopg.Error:
                continue
            assert row is not None
            described = {(item.schema, item.name) for item in found[0].template.relations}
            assert _scanned(row[0]) <= described, sql
    assert accepted > 50
