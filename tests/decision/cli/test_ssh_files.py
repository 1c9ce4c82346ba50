"""Keys and certificates in files of one's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from decision.cli import ssh_files
from decision.cli.errors import CliError


def test_a_key_is_made_once_for_oneself_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    public = ssh_files.public_key(path)
    assert public.startswith("ssh-ed25519 ")
    assert ssh_files.public_key(path) == public
    ssh_files.write_certificate(path, "cert one")
    ssh_files.write_certificate(path, "cert two")
    assert (tmp_path / "new" / "key-cert.pub").read_text() == "cert two\n"
    assert {path.name for path in path.parent.iterdir()} == {"key", "key.pub", "key-cert.pub"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_that_others_may_read_or_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ssh_files.public_key(path)
    path.chmod(0o640)
    with pytest.raises(CliError, match="others"):
        ssh_files.public_key(path)
    path.write_text("x")
    path.chmod(0o600)
    with pytest.raises(CliError, match="no OpenSSH key"):
        ssh_files.public_key(path)
    assert path.read_text() == "x"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CliError):
        ssh_files.public_key(tmp_path / "key")
    assert not os.path.lexists(tmp_path / "elsewhere")
