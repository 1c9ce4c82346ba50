"""Only this run's OPA is believed, and its key is nowhere but in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from decision.errors import PolicyUnavailableError
from decision.policy.engine import Engine
from decision.policy.tls import handed_over, new_identity
from tests.decision.policy.support import ALLOW, local, start


async def test_an_impostor_on_the_port_is_not_believed(tmp_path: Path, engine: Engine) -> None:
    """Another OPA, with another certificate, in place of ours."""
    (tmp_path / "other").mkdir()
    other = await start(tmp_path / "other")
    try:
        ours, theirs = local(engine)._running, local(other)._running
        assert ours is not None
        assert theirs is not None
        ours.client._question_url = theirs.client._question_url
        with pytest.raises(PolicyUnavailableError):
            await engine.evaluate(ALLOW)
    finally:
        await other.close()


def test_two_runs_have_nothing_in_common() -> None:
    one, other = new_identity(), new_identity()
    assert one.key != other.key
    assert one.certificate != other.certificate
    assert b"PRIVATE" not in one.certificate
    assert "PRIVATE" not in repr(one)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_key_is_handed_over_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    with handed_over(b"secret", tmp_path, "key") as (path, inherit):
        assert Path(path).read_bytes() == b"secret"
        assert Path(path).read_bytes() == b"secret"  # OPA may read it twice
        assert bool(inherit) is in_memory
        files = list(tmp_path.iterdir())
        assert files == ([] if in_memory else [tmp_path / "key"])
        assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert list(tmp_path.iterdir()) == []
    for descriptor in inherit:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
