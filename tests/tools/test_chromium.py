"""Where Chromium comes from, and that it starts as strictly as the system lets it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tools import chromium
from tools.setup import SetupError

FAKE = """\
#!/bin/sh
case "$*" in *--no-sandbox*) ;; *) [ "$STRICT" = no ] && exit 1;; esac
echo started
"""


def program(folder: Path, body: str = FAKE, name: str = "chromium") -> Path:
    path = folder / name
    path.write_text(body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without apt and with nothing obtained; somebody's own, never root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def test_without_debians_tools_one_of_the_path_serves(bare: Path) -> None:
    with pytest.raises(SetupError, match="there is no Chromium"):
        chromium.obtain()
    found = program(bare)
    assert chromium.obtain() is None
    started = chromium.launch(bare)
    assert (started.program, started.sandbox) == (found, True)


def test_without_a_sandbox_only_where_there_can_be_none(bare: Path) -> None:
    found = program(bare, FAKE.replace('"$STRICT"', "no"))
    started = chromium.launch(bare)
    assert (started.program, started.sandbox) == (found, False)
    program(bare, "#!/bin/sh\nexit 1\n")
    with pytest.raises(SetupError, match="does not start here"):
        chromium.launch(bare)


def test_where_the_tests_are_roots_the_process_and_its_profile_are_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    for name in ("chown", "setpriv"):
        program(tmp_path, f'#!/bin/sh\necho {name} "$@" >> {log}\necho started\n', name)
    program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    work = tmp_path / "work"
    work.mkdir()
    started = chromium.launch(work)
    assert started.program == work / "chromium"
    assert started.sandbox
    said = log.read_text().splitlines()
    assert said[0].startswith(f"chown -R 65534:65534 {work}/profile-")
    assert said[1].startswith(f"setpriv --reuid=65534 --regid=65534 --clear-groups {tmp_path}/chromium --headless")


def test_what_was_obtained_before_is_left_alone(bare: Path) -> None:
    there = bare / "cache" / "chromium" / chromium.PROGRAM
    there.parent.mkdir(parents=True)
    there.touch()
    assert chromium.obtain() == bare / "cache" / "chromium"
