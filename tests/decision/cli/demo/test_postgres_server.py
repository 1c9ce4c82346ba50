"""A server of the version that --postgres chose: who runs it, and that it comes back with its data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from decision.cli.demo.database import Database, scratch_folder
from decision.cli.demo.postgres import binaries, choose
from decision.cli.demo.postgres_server import ChildServer
from decision.cli.errors import CliError


@pytest.fixture
def folder() -> Iterator[Path]:
    made = scratch_folder("twokey-server-")
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_it_runs_as_nobody_and_keeps_its_data_and_port(folder: Path) -> None:
    database = Database(folder / "postgresql")
    try:
        database.start()
        assert database.pid is not None
        owner = Path(f"/proc/{database.pid}").stat().st_uid
        assert owner != 0
        assert owner == (folder / "postgresql" / "data").stat().st_uid
        shown = database.run("SELECT current_setting('server_version_num')::int / 10000")
        assert shown == str(database.version) == str(choose().version)
        database.run("CREATE TABLE kept AS SELECT 42 AS n")
        port = database.port
        database.stop()
        assert database.pid is None
        database.start()
        assert database.port == port
        assert database.run("SELECT n FROM kept") == "42"
    finally:
        database.remove()
    assert not (folder / "postgresql").exists()


def test_passwords_are_asked_for_and_in_no_file(folder: Path) -> None:
    database = Database(folder / "postgresql")
    try:
        database.start()
        password, database.admin_password = database.admin_password, "wrong"
        with pytest.raises(CliError, match="password authentication failed"):
            database.run("SELECT 1")
        found = [path for path in folder.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
        assert found == []
    finally:
        database.remove()


def test_programs_that_nobody_may_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout below /root: the programs are there, and the server's user can't come in."""
    choice = choose()
    found = binaries(choice)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    holder = closed / found.parents[1].name
    shutil.copytree(found.parent, holder / found.parent.name, symlinks=True)
    libraries = found.parents[1].with_name(f"{holder.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True)
    monkeypatch.setattr("decision.cli.demo.postgres_server.binaries", lambda _: holder / found.parent.name / "bin")
    home = folder / "home"
    home.mkdir()
    server = ChildServer(home, choice, "password")
    try:
        server.start()
        assert not server.failed()
        copied = home / "programs" / holder.name / found.parent.name / "bin" / "postgres"
        assert copied.exists() is (os.geteuid() == 0)  # who is not root runs it from where it is
    finally:
        server.stop()
