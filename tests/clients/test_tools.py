"""PostgreSQL's own tools: what pg_dump writes through the gateway is what it writes directly, pg_restore brings it
back, and pgbench runs in each of its protocols."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clients.heard import documented, heard
from tests.clients.recorder import difference
from tests.clients.stage import SIDES, Played, Stage

HERE = Path(__file__).parent
SCRIPTS = ("schema.sql", "archive.sql")
DUMPED = "dumped"
RESTORED = "restored"
# Random by design in newer releases of pg_dump.
_RESTRICT = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)

# pg_restore's tests are of the newest server only: this pg_restore speaks of settings that older ones don't know.
pytestmark = pytest.mark.timeout(400)  # of a busy machine


@pytest.fixture(scope="module")
def filled(stage: Stage) -> Stage:
    """Both sides with the objects of schema.sql, rows of every kind, and a large object; in a database that was empty,
    so that the catalogs' rows lie in the same order."""
    stage.level()
    for side in SIDES:
        stage.server(side).run(
            "SET ROLE executor;\n" + "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
            database=DUMPED,
        )
    return stage


def empty(stage: Stage) -> None:
    """The database that is restored into, on both sides."""
    for side in SIDES:
        stage.server(side).run(
            "SET client_min_messages = error; DROP SCHEMA IF EXISTS talk CASCADE; DROP PUBLICATION IF EXISTS told;"
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
            database=RESTORED,
        )


def dump(stage: Stage, side: str, arguments: Sequence[str]) -> Played:
    return stage.play(side, [stage.binary("pg_dump"), *arguments], database=DUMPED)


def ways(client: str) -> set[str]:
    """What docs/clients.md says that the client does here."""
    return documented((HERE.parents[1] / "docs" / "clients.md").read_text(encoding="utf-8"))[client]


def text(dumped: str) -> str:
    return _RESTRICT.sub("", dumped)


@pytest.mark.target
@pytest.mark.parametrize(
    "arguments", [[], ["--inserts", "--column-inserts"], ["--schema-only", "--no-owner"], ["-a", "-t", "talk.part*"]]
)
def test_pg_dump_writes_the_same_and_is_told_the_same(filled: Stage, arguments: list[str]) -> None:
    direct, gateway = (dump(filled, side, arguments) for side in SIDES)
    assert (direct.status, direct.stderr) == (0, "")
    assert "word 3000" in direct.stdout or "--schema-only" in arguments
    assert text(gateway.stdout) == text(direct.stdout)
    assert (gateway.status, gateway.stderr) == (0, "")
    assert difference(direct.recording, gateway.recording) == ""
    rows = {"--inserts": {"cursor"}, "--schema-only": set()}.get(next(iter(arguments), ""), {"copy out"})
    assert heard(direct.recording) == {"simple", *rows} <= ways("pg_dump")


def test_pg_dump_in_parallel_and_pg_restore_bring_it_back(filled: Stage, tmp_path: Path) -> None:
    listings: dict[str, str] = {}
    for side in SIDES:
        folder = tmp_path / side
        done = dump(filled, side, ["-Fd", "-j", "2", "-f", str(folder)])
        assert (done.status, done.stderr) == (0, "")
        listed = filled.play(side, [filled.binary("pg_restore"), "-f", "-", str(folder)])
        listings[side] = text(listed.stdout)
    assert "word 3000" in listings["direct"]
    assert listings["gateway"] == listings["direct"]
    empty(filled)
    restored = [
        filled.play(
            side,
            [filled.binary("pg_restore"), "-j", "2", "-d", RESTORED, str(tmp_path / side)],
            database=RESTORED,
        )
        for side in SIDES
    ]
    assert [(each.status, each.stderr) for each in restored] == [(0, ""), (0, "")]
    again = {side: text(filled.play(side, [filled.binary("pg_dump")], database=RESTORED).stdout) for side in SIDES}
    assert "word 3000" in again["direct"]
    assert again["gateway"] == again["direct"]


def test_pg_restore_of_a_plain_archive_is_told_the_same(filled: Stage, tmp_path: Path) -> None:
    archive = tmp_path / "talk.dump"
    assert dump(filled, "direct", ["-Fc", "-f", str(archive)]).status == 0
    played = []
    empty(filled)
    for side in SIDES:
        command = [filled.binary("pg_restore"), "--single-transaction", "-d", RESTORED]
        played.append(filled.play(side, [*command, str(archive)], database=RESTORED))
    direct, gateway = played
    assert [(each.status, each.stderr) for each in played] == [(0, ""), (0, "")]
    assert difference(direct.recording, gateway.recording) == ""
    assert heard(direct.recording) == ways("pg_restore")


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_is_told_the_same(stage: Stage, protocol: str, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.sql"
    pipeline.write_text(
        "\\startpipeline\nSELECT 1;\nSELECT abalance FROM pgbench_accounts WHERE aid = 7;\n\\endpipeline\n"
        "BEGIN;\nSELECT 2 AS two \\gset of_\nEND;\n"
    )
    stage.level()
    scripts = ["-b", "tpcb-like", "-b", "select-only", *([] if protocol == "simple" else ["-f", str(pipeline)])]
    options = ["-n", "-M", protocol, "-c", "1", "-t", "15", "--random-seed=7", *scripts]
    played = {}
    for side in SIDES:
        made = stage.play(side, [stage.binary("pgbench"), "-i", "-I", "dtgvpf", "-q", "--partitions=2"])
        ran = stage.play(side, [stage.binary("pgbench"), *options])
        assert made.status == ran.status == 0, made.stderr + ran.stderr
        assert "number of failed transactions: 0 " in ran.stdout
        played[side] = (made, ran)
    for direct, gateway in zip(played["direct"], played["gateway"], strict=True):
        assert difference(direct.recording, gateway.recording) == ""
    told = heard(*(each.recording for each in played["direct"]))
    assert told - {"notice"} == ways(f"pgbench -M {protocol}")  # the first to run hears that there were no tables yet
