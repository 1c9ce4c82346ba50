"""Planned maskers held against a real catalog: domains by what they are made of, lengths counted."""

from __future__ import annotations

import asyncpg
import psycopg
import pytest
from google.protobuf import json_format
from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from enforcers.core.errors import DescribeError
from enforcers.postgres.maskers.fit import misfits
from tests.enforcers.postgres.conftest import Postgres

SETUP = """
DROP SCHEMA IF EXISTS fit CASCADE; CREATE SCHEMA fit;
CREATE DOMAIN fit.short AS varchar(10); CREATE DOMAIN fit.shorter AS fit.short CHECK (VALUE <> 'x');
CREATE TABLE fit.t (a text, b fit.shorter, c numeric(5,2), d date, e inet, "f.g" text[], i int4);
CREATE VIEW fit.v AS SELECT a, c FROM fit.t;
"""


def mask(relation: str, column: str, **masker: object) -> describe_pb2.PlannedMask:
    message = describe_pb2.PlannedMask(
        column=operation_pb2.ColumnName(schema="fit", relation=relation, column=column), label="pii"
    )
    json_format.ParseDict(masker, message.masker)
    return message


async def test_only_what_does_not_fit_is_named(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute(SETUP)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(postgres.dsn)

    fits = [
        mask("t", "a", type="email"),
        mask("t", "b", type="keep-last", n=2, fill="*"),
        mask("v", "c", type="bucket", size=10),
        mask("t", "d", type="truncate-date", to="year"),
        mask("t", "e", type="null"),
        mask("t", "nowhere", type="email"),
        mask("nothing", "a", type="email"),
    ]
    wrong = [
        mask("t", "b", type="email"),
        mask("v", "c", type="email"),
        mask("t", "d", type="truncate-date", to="day"),
        mask("t", "f.g", type="fixed", text="x"),
        mask("t", "a", type="hash"),
        mask("t", "i", type="scramble"),
    ]
    found = (await misfits(connect, [*fits, *wrong], keyed=False)).misfits
    shown = sorted((item.column.column, item.type, item.masker) for item in found)
    assert shown == [
        ("a", "text", "hash"),
        ("b", "fit.shorter", "email"),
        ("c", "numeric(5,2)", "email"),
        ("d", "date", "truncate-date"),
        ("f.g", "text[]", "fixed"),
        ("i", "integer", "scramble"),
    ]
    assert all(item.why and item.label == "pii" for item in found)
    assert len((await misfits(connect, wrong, keyed=True)).misfits) == 5


async def test_a_target_that_can_not_be_asked_is_said(postgres: Postgres) -> None:
    async def connect() -> asyncpg.Connection:
        raise ConnectionError("down")

    with pytest.raises(DescribeError, match="can't be asked"):
        await misfits(connect, [mask("t", "a", type="null")], keyed=False)
