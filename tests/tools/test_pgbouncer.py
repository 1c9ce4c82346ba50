"""What of a package's needs is fetched beside it, and where its program is looked for."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tools import pgbouncer
from tools.setup import SetupError

DEPENDS = """\
pgbouncer
  PreDepends: init-system-helpers
  Depends: libc-ares2
  Depends: libc6
  Depends: libevent-2.1-7
    libelogind0
  Depends: libssl3
  Suggests: python3
"""


def script(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_package_and_the_libraries_that_small_systems_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "depends").write_text(DEPENDS)
    script(tmp_path, "apt-cache", f"cat {tmp_path}/depends")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert pgbouncer.names() == ["pgbouncer", "libc-ares2", "libevent-2.1-7"]
    (tmp_path / "depends").write_text("")
    assert pgbouncer.names() == []


def test_without_debians_tools_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SetupError, match="apt-get is not here"):
        pgbouncer.obtain()


def test_what_was_obtained_before_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))
    there = pgbouncer.program(tmp_path / "pgbouncer")
    there.parent.mkdir(parents=True)
    there.touch()
    monkeypatch.setenv("PATH", "")
    assert pgbouncer.obtain() == tmp_path / "pgbouncer"
