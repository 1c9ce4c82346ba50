"""Waiting for something that can be withdrawn."""

from __future__ import annotations

import asyncio
import sys

import pytest

from enforcers.core.withdrawal import unless


async def answer(what: str) -> str:
    await asyncio.sleep(0)
    return what


async def test_the_answer_where_nothing_is_withdrawn() -> None:
    assert await unless(asyncio.Event(), answer("approved")) == "approved"


async def test_none_where_it_was_withdrawn_before_and_meanwhile() -> None:
    withdrawn = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(unless(withdrawn, asyncio.Event().wait()))
        await asyncio.sleep(0)
        withdrawn.set()
    assert waiting.result() is None
    assert await unless(withdrawn, answer("approved")) is None


async def test_an_error_of_what_is_awaited() -> None:
    async def fails() -> None:
        raise ConnectionError

    with pytest.raises(ExceptionGroup) as failed:
        await unless(asyncio.Event(), fails())
    assert [type(error) for error in failed.value.exceptions] == [ConnectionError]


async def test_who_is_cancelled_cancels_it_and_nobody_else_sees_that_as_being_handled() -> None:
    handled: list[BaseException | None] = []
    held = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            held.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(unless(asyncio.Event(), slow_to_end()))
        await held.wait()
        waiting.cancel()
        asyncio.get_running_loop().call_later(0.005, lambda: handled.append(sys.exc_info()[1]))
    assert waiting.cancelled()
    assert handled == [None]
