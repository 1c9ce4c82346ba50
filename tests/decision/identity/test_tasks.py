"""Background work whose failure is seen."""

from __future__ import annotations

import asyncio

import structlog

from decision.identity.tasks import Tasks


async def test_a_failure_is_logged_and_reported_without_locals() -> None:
    failed = asyncio.Event()

    async def broken() -> None:
        token = "topsecret" + "-token"
        await asyncio.sleep(0)
        raise RuntimeError(f"length {len(token)}")

    tasks = Tasks()
    with structlog.testing.capture_logs() as logs:
        tasks.spawn(broken(), name="x", failed=failed.set)
        async with asyncio.timeout(5):
            await failed.wait()
    assert logs[0]["event"] == "task-failed"
    assert "RuntimeError: length 15" in logs[0]["trace"]
    assert "topsecret-token" not in str(logs)


async def test_close_cancels_and_waits() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("x")

    def failed() -> None:
        ended.append("failed")

    tasks = Tasks()
    tasks.spawn(endless(), name="x", failed=failed)
    await begun.wait()
    await tasks.close()
    assert ended == ["x"]
    await tasks.close()
