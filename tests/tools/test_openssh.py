"""What is fetched for a sshd, and what is said where it can't be."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tools import openssh
from tools.setup import SetupError


def test_the_package_what_stands_beside_it_and_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "apt-cache"
    script.write_text("#!/bin/sh\necho openssh-server\necho '  Depends: libwrap0'\necho '  Depends: libssl3'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert openssh.PACKAGE.names() == ["openssh-server", "libnss-wrapper", "openssh-client", "libwrap0"]


def test_without_debians_tools_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SetupError, match="apt-get is not here"):
        openssh.obtain()
