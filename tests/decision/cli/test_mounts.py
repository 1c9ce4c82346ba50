"""What lies in memory."""

from __future__ import annotations

from pathlib import Path

from decision.cli.mounts import lies_in_memory


def test_a_tmpfs_and_what_is_none(tmp_path: Path) -> None:
    assert lies_in_memory(Path("/dev/shm"))
    assert not lies_in_memory(Path("/proc/self/stat"))
    assert not lies_in_memory(tmp_path / "none")
