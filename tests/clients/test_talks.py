"""Unmodified clients hold a broad conversation with the gateway and with PostgreSQL itself: no byte may differ.

What each talks about is in its own script (talk.psql, python/, node/, go/, rust/, java/), all on the objects of
schema.sql. What may differ, and nothing else, is listed in recorder.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.clients.heard import documented, heard
from tests.clients.recorder import difference
from tests.clients.stage import Played, Stage
from tools.clients import folder, pgjdbc

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "clients.md"
NAMES = {"psycopg": "psycopg 3", "node": "node-postgres", "go": "pgx", "rust": "tokio-postgres", "java": "pgjdbc"}
CLIENTS = ("psql", "psycopg", "psycopg2", "asyncpg", "node", "go", "rust", "java")
LEAST_MESSAGES = 200  # a talk that broke off early is no success
_SIDES_OWN = re.compile(r"(?<=PID )\d+|(?<=node:)\d+|(?<=port=)\d+|0x[0-9a-f]{8,}")

pytestmark = pytest.mark.timeout(400)  # of a busy machine


def command(stage: Stage, client: str) -> list[str | Path]:
    """How it is started. Those of `make clients` must have been built; a missing one fails the test."""
    if client == "psql":
        script = ["-v", f"schema={HERE / 'schema.sql'}", "-f", str(HERE / "talk.psql")]
        return [stage.binary("psql"), "-X", "-a", "-P", "pager=off", *script]
    if client in {"psycopg", "psycopg2", "asyncpg"}:
        return [sys.executable, "-m", f"tests.clients.python.talk_{client}"]
    if client == "node":
        return ["node", folder("node") / "talk.mjs"]
    if client == "go":
        return [folder("go") / "talk"]
    if client == "rust":
        return [folder("rust") / "target" / "debug" / "talk"]
    classes = f"{folder('java') / 'classes'}:{pgjdbc()}"
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes, "Talk"]


def said(played: Played) -> tuple[int, list[str], list[str]]:
    """What the user saw, without process ids, ports and addresses."""
    return (
        played.status,
        _SIDES_OWN.sub("_", played.stdout).splitlines(),
        _SIDES_OWN.sub("_", played.stderr).splitlines(),
    )


@pytest.mark.target
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_told_by_the_gateway_what_it_is_told_directly(stage: Stage, client: str) -> None:
    stage.level()
    environment = {"TALK_SCHEMA": str(HERE / "schema.sql")}
    direct, gateway = (
        stage.play(side, command(stage, client), folder=ROOT, environment=environment) for side in ("direct", "gateway")
    )
    assert direct.status == 0, direct.stderr[-2000:]
    assert len(direct.recording.lines()) > LEAST_MESSAGES
    assert difference(direct.recording, gateway.recording) == ""
    assert said(direct) == said(gateway)
    ways = heard(direct.recording)
    if client == "psql":
        ways |= cancelled_by_hand(stage)
    assert ways == documented(PAGE.read_text(encoding="utf-8"))[NAMES.get(client, client)]


def cancelled_by_hand(stage: Stage) -> set[str]:
    """Ctrl-C in psql, which ends its script. The ways of that."""
    command = [stage.binary("psql"), "-X", "-f", str(HERE / "cancel.psql")]
    direct, gateway = (stage.play(side, command, folder=ROOT) for side in ("direct", "gateway"))
    assert "canceling statement due to user request" in direct.stderr
    assert difference(direct.recording, gateway.recording) == ""
    assert said(direct) == said(gateway)
    return heard(direct.recording)
