"""run.json is for its owner alone, and not believed when others could have written it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from decision.cli import runfile
from decision.cli.errors import CliError, UnreachableError
from decision.cli.runfile import RunFile

RUN = RunFile(pid=1, dev=True, decision="127.0.0.1:1", http="127.0.0.1:2", postgres={"crm": "127.0.0.1:3"}, ca="PEM")


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    runfile.write(path, RUN)
    assert runfile.read(path) == RUN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["run.json"]


def test_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="nothing runs here"):
        runfile.read(tmp_path / "run.json")


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    runfile.write(path, RUN)
    path.chmod(0o666)
    with pytest.raises(CliError, match="written by others"):
        runfile.read(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    runfile.write(tmp_path / "real.json", RUN)
    (tmp_path / "run.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(CliError):
        runfile.read(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}'])
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CliError, match="damaged"):
        runfile.read(path)


def test_the_state_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    runfile.make_state_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(CliError, match="others may write"):
        runfile.make_state_dir(folder)


def test_one_supervisor_at_a_time(tmp_path: Path) -> None:
    held = runfile.lock(tmp_path, "up")
    with pytest.raises(CliError, match="another twokey runs"):
        runfile.lock(tmp_path, "up")
    os.close(held)
    os.close(runfile.lock(tmp_path, "up"))
