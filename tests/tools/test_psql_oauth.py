"""Which packages psql's own log-in is made of, and how it is started; apt itself is a script here."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tools import psql_oauth
from tools.setup import SetupError

NEEDED = """\
libpq-oauth
  Depends: libc6
  Depends: libcurl4t64
libc6
libcurl4t64
libperl5.42
<libfoo>
    libbar
zlib1g
debconf
"""


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_libraries_and_nothing_else(path: Path) -> None:
    (path / "needed").write_text(NEEDED)
    script(path, "apt-cache", f"cat {path}/needed")
    found = psql_oauth._packages(path)
    assert set(psql_oauth.ASKED) <= set(found)
    assert "libc6" in found
    assert not {"libperl5.42", "debconf", "libfoo", "libbar"} & set(found)


def test_the_mirror_is_this_machines_own(path: Path) -> None:
    lines = "Docker http://d/ \\nDebian http://mirror/debian-security/\\nDebian http://mirror/debian/"
    script(path, "apt-get", f"printf '{lines}\\n'")
    assert psql_oauth._mirror() == "http://mirror/debian/"
    script(path, "apt-get", "true")
    with pytest.raises(SetupError, match="no source"):
        psql_oauth._mirror()


def test_a_folder_without_it_is_said(path: Path) -> None:
    (path / "cache" / "psql-oauth").mkdir(parents=True)
    with pytest.raises(SetupError, match="holds no psql"):
        psql_oauth.obtain()
