"""SQLAlchemy's own suite for dialects, as dialects outside its repository run it (dialect/), through the gateway and
directly: every test must end alike.

`make test` runs the part in REPRESENTATIVE with one driver; with TWOKEY_FULL=1 (`make test-clients FULL=1`) it is the
whole suite with each driver. The suite makes and drops tables before and after almost every test, and each such change
has the gateway look at the catalog again, so all of it takes some minutes a driver (docs/clients.md has the figures).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.clients.stage import SIDES, Stage

HERE = Path(__file__).parent / "dialect"
ROOT = HERE.parents[2]
DATABASE = "suite"
FULL = bool(os.environ.get("TWOKEY_FULL"))
DRIVERS = ("psycopg", "asyncpg", "psycopg2") if FULL else ("psycopg",)
# What it leaves out is more of the same: reflection of every kind of object in every combination, JSON by every path,
# names with every awkward character, each type once more.
REPRESENTATIVE = (
    "InsertBehaviorTest or CTETest or RowFetchTest or ServerSideCursorsTest or RowCountTest or SimpleUpdateDeleteTest"
    " or IsolationLevelTest or SequenceTest or HasTableTest or HasIndexTest or NumericTest or NativeUUIDTest"
    " or ArrayTest"
    " or BinaryTest or EnumTest or DateTimeTZTest or IntervalTest or IdentityColumnTest or ComputedColumnTest"
    " or (ComponentReflectionTest and not Extra and (test_get_pk or test_get_foreign_keys or test_get_indexes))"
)
LEAST = 1500 if FULL else 120


def outcomes(report: Path) -> dict[str, str]:
    """By test: passed, skipped, failure or error."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = [child.tag for child in case if child.tag in {"skipped", "failure", "error"}]
        found[f"{case.get('classname')}::{case.get('name')}"] = kinds[0] if kinds else "passed"
    return found


@pytest.mark.timeout(6000 if FULL else 900)
@pytest.mark.parametrize("driver", DRIVERS)
def test_sqlalchemys_dialect_suite_ends_alike(stage: Stage, driver: str, tmp_path: Path) -> None:
    found: dict[str, dict[str, str]] = {}
    told: dict[str, str] = {}
    for side in SIDES:
        for name in ("test_schema", "test_schema_2"):
            sql = f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name} AUTHORIZATION executor"
            stage.server(side).run(f"SET client_min_messages = error; {sql}", database=DATABASE)
        report = tmp_path / f"{side}.xml"
        command = [sys.executable, "-W", "ignore", "-m", "pytest", "-p", "sqlalchemy.testing.plugin.pytestplugin"]
        command += ["-c", "setup.cfg", "--rootdir", ".", "--confcutdir", ".", "suite.py"]
        command += ["--dburi", f"postgresql+{driver}://", "--junitxml", str(report), "-W", "ignore"]
        played = stage.play(
            side,
            command if FULL else [*command, "-k", REPRESENTATIVE],
            folder=HERE,
            database=DATABASE,
            environment={"PYTHONPATH": str(ROOT)},
            timeout_s=2900 if FULL else 440,
        )
        told[side] = played.stdout[-6000:] + played.stderr[-2000:]
        assert report.exists(), told[side]
        found[side] = outcomes(report)
    assert list(found["direct"].values()).count("passed") > LEAST, told["direct"]
    assert {name for name, outcome in found["direct"].items() if outcome in {"failure", "error"}} == set()
    assert {
        name: (outcome, found["gateway"].get(name))
        for name, outcome in found["direct"].items()
        if found["gateway"].get(name) != outcome
    } == {}, told["gateway"]
    assert found["gateway"].keys() == found["direct"].keys()
