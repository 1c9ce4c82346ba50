"""A server in a container: how the engine is asked, and what is said where none answers.

The engine here is a script that notes how it is called: no engine answers where these tests run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from decision.cli.demo.postgres_docker import DockerServer
from decision.cli.errors import CliError

ENGINE = """#!/bin/sh
echo "$*" >> "{log}"
case "$1" in
version) test -e "{folder}/dead" && exit 1; echo 28.0;;
run) echo "$POSTGRES_PASSWORD" > "{folder}/password"; test -e "{folder}/no-image" && exit 125; echo 0123abcd;;
inspect) echo true;;
esac
exit 0
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "docker"
    program.write_text(ENGINE.format(log=tmp_path / "log", folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def calls(engine: Path) -> list[str]:
    return (engine / "log").read_text().splitlines()


def test_a_server_from_start_to_removal(engine: Path) -> None:
    server = DockerServer(15, "s3cret-password")
    server.start()
    assert server.port
    assert not server.failed()
    assert server.pid is None
    server.remove()
    server.stop()
    version, run, inspect, stop, volume = calls(engine)
    assert version.startswith("version")
    assert f"--publish 127.0.0.1:{server.port}:5432" in run
    assert "postgres:15" in run
    name = inspect.split()[-1]
    assert stop.split()[-1] == name
    assert volume == f"volume rm --force {name}"
    # The password is handed on without being anybody's argument.
    assert (engine / "password").read_text().strip() == "s3cret-password"
    assert "s3cret" not in "".join(calls(engine))


def test_it_comes_back_where_it_was(engine: Path) -> None:
    server = DockerServer(15, "p")
    server.start()
    port = server.port
    server.stop()
    server.start()
    assert server.port == port
    assert len([call for call in calls(engine) if call.startswith("run")]) == 2


def test_no_engine(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (engine / "dead").touch()
    with pytest.raises(CliError, match="no container engine answers") as caught:
        DockerServer(17, "p")
    assert "TWOKEY_POSTGRES=maven:17" in caught.value.next_step
    monkeypatch.setenv("PATH", str(engine / "nowhere"))
    with pytest.raises(CliError, match="docker was not found"):
        DockerServer(17, "p")


def test_an_image_that_does_not_start(engine: Path) -> None:
    server = DockerServer(17, "p")
    (engine / "no-image").touch()
    with pytest.raises(CliError, match="docker did not start postgres:17"):
        server.start()
    server.stop()
    assert not any(call.startswith("stop") for call in calls(engine))
