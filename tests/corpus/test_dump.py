"""pg_dump under a masked role: what touches nothing classified is dumped as it is directly; the rest comes masked."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.corpus.field import READER, Field
from tests.corpus.link import Place

_KEY = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)  # a random word that psql wants
# The tables classified by file or by comment, and their partitions, children and parents.
_KIN = """
WITH RECURSIVE classified(oid) AS (SELECT unnest('{NAMES}'::regclass[])::oid UNION
  SELECT objoid FROM pg_description WHERE classoid = 'pg_class'::regclass AND description LIKE 'twokey: %'),
kin(oid) AS (SELECT oid FROM classified UNION SELECT other FROM kin JOIN (
  SELECT inhrelid AS one, inhparent AS other FROM pg_inherits UNION SELECT inhparent, inhrelid FROM pg_inherits) i
  ON i.one = kin.oid)
SELECT c.oid::regclass FROM pg_class c JOIN kin USING (oid) WHERE relkind IN ('r', 'p') ORDER BY 1
"""


def _dump(field: Field, place: Place, *options: str) -> str:
    done = subprocess.run(
        [str(field.stack.database.psql.with_name("pg_dump")), "--no-sync", *options],
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return _KEY.sub("", done.stdout)


def _both(field: Field, *options: str) -> tuple[str, str]:
    return _dump(field, field.direct("a", READER), *options), _dump(field, field.gateway("work"), *options)


@pytest.mark.target
@pytest.mark.parametrize(
    "options",
    [
        ("-t", "wards"),
        ("-t", "wards", "--inserts", "--enable-row-security", "--lock-wait-timeout=5000"),
        ("-n", "shop"),
        ("-n", "other", "--serializable-deferrable"),
        ("--schema-only",),
    ],
    ids=" ".join,
)
def test_what_is_not_classified_is_dumped_as_it_is_directly(field: Field, options: tuple[str, ...]) -> None:
    direct, gateway = _both(field, *options)
    assert gateway == direct
    assert "CREATE TABLE" in direct or "COPY" in direct or "INSERT" in direct


@pytest.mark.target
@pytest.mark.parametrize("form", ["--column-inserts", "--no-comments"])
def test_a_classified_table_is_dumped_masked(field: Field, form: str) -> None:
    direct, gateway = _both(field, "-t", "badges", "--data-only", form)
    values = {cell.strip(" ',);") for line in direct.splitlines() for cell in re.split(r"[\t(]|, ", line)}
    ours = {cell.strip(" ',);") for line in gateway.splitlines() for cell in re.split(r"[\t(]|, ", line)}
    assert len(direct.splitlines()) == len(gateway.splitlines())
    hidden = values - ours
    assert hidden
    assert not [value for value in hidden if len(value) > 5 and value in gateway]


@pytest.mark.target
def test_all_but_the_classified_tables_are_dumped_as_they_are_directly(field: Field) -> None:
    named = {".".join(line.split(".")[:2]) for line in field.classification.splitlines() if line.count(".") > 1}
    kin = field.stack.database.run(_KIN.replace("NAMES", ",".join(sorted(named))), database="a").split()
    direct, gateway = _both(field, "--no-large-objects", *(f"--exclude-table={name}" for name in kin))
    assert gateway == direct
    assert direct.count("COPY ") > 3
