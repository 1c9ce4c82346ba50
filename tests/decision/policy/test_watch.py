"""Which changes of files are noticed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.decision.policy.support import Events, start, write_policy


async def watcher_begun(folder: Path, events: Events) -> None:
    """Change a policy until a change is seen: the watcher begins in a thread of its own."""
    count = events.count("policy-loaded")
    for turn in range(50):
        write_policy(folder, f"tiny.turn{turn}")
        try:
            async with asyncio.timeout(1):
                await events.until(lambda names: names.count("policy-loaded") > count)
        except TimeoutError:
            continue
        return
    pytest.fail("no change was seen")


async def test_file_changes_reload_by_themselves(tmp_path: Path, events: Events) -> None:
    engine = await start(tmp_path, events, watch=True)
    try:
        first = engine.revision
        await watcher_begun(tmp_path, events)
        assert engine.revision != first
        changed = events.count("policy-loaded")
        replacement = tmp_path / "new-people"
        replacement.write_text("principals:\n  - {name: bob, identities: [{iss: i, sub: b}]}\n")
        replacement.rename(tmp_path / "people.yaml")
        await events.until(
            lambda names: names.count("policy-loaded") > changed and engine.people.by_name("bob") is not None
        )
        (tmp_path / "people.yaml").write_text("principals: {")
        await events.until(lambda names: "policy-refused" in names)
        assert engine.people.by_name("bob") is not None
    finally:
        await engine.close()
