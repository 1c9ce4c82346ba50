"""What is fetched beside sqlsmith, and that what is there is not fetched again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tools import sqlsmith
from tools.setup import SetupError

DEPENDS = "sqlsmith\n  Depends: libc6\n  Depends: libpq5\n  Depends: libpqxx-6.4\n  Depends: libstdc++6\n"


def test_the_package_and_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "depends").write_text(DEPENDS)
    tool = tmp_path / "apt-cache"
    tool.write_text(f"#!/bin/sh\ncat {tmp_path}/depends\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sqlsmith.PACKAGE.names() == ["sqlsmith", "libpqxx-6.4"]


def test_what_was_obtained_before_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))
    there = tmp_path / "sqlsmith" / "usr" / "bin" / "sqlsmith"
    there.parent.mkdir(parents=True)
    there.touch()
    monkeypatch.setenv("PATH", "")
    assert sqlsmith.obtain() == (there, "")


def test_without_debians_tools_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SetupError, match="apt-get is not here"):
        sqlsmith.obtain()
