"""decision.pdp.revocations: told at once, bounded, never silent for longer than a heartbeat."""

from __future__ import annotations

import asyncio

import pytest

from decision.columns import ColumnName
from decision.errors import StateError
from decision.pdp import revocations
from decision.pdp.revocations import Classified, Revocations


async def test_a_new_watcher_hears_the_revision_and_what_was_revoked_lately() -> None:
    hub = Revocations("r1")
    hub.revoked(["ses_1"], "incident")
    hub.revised("r2")
    watch = hub.watch()
    assert (await anext(watch)).revision == "r2"
    assert (await anext(watch)).sessions == ("ses_1",)
    hub.revised("r3")
    assert (await anext(watch)).revision == "r3"
    await watch.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert hub.watchers == 0


async def test_what_ended_before_is_told_to_every_new_watcher() -> None:
    hub = Revocations("r1")
    hub.recall([])
    hub.recall(["ses_1", "ses_2"])
    for _ in range(2):
        watch = hub.watch()
        assert (await anext(watch)).sessions == ()
        assert (await anext(watch)).sessions == ("ses_1", "ses_2")
        await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_watcher_that_does_not_keep_up_is_ended() -> None:
    hub = Revocations("r")
    watch = hub.watch()
    await anext(watch)
    for number in range(revocations.QUEUE + 1):
        hub.revoked([f"ses_{number}"], "")
    assert [message async for message in watch] == []
    assert hub.watchers == 0


async def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_WATCHERS", 1)
    hub = Revocations("r")
    first = hub.watch()
    await anext(first)
    with pytest.raises(StateError):
        await anext(hub.watch())
    hub.close()
    assert [message async for message in first] == []
    with pytest.raises(StateError):
        await anext(hub.watch())


async def test_nothing_is_sent_for_nobody() -> None:
    hub = Revocations("r")
    watch = hub.watch()
    first = await anext(watch)
    hub.revoked([], "")
    async with asyncio.timeout(3):
        assert (await anext(watch)).sequence == first.sequence + 1  # the heartbeat


async def test_what_is_classified_is_told_before_all_else_and_with_each_revision() -> None:
    email = ColumnName("public", "customers", "email")
    hub = Revocations("r1", {"crm": (email,), "other": ()})
    messages = hub.watch()
    first = [await anext(messages) for _ in range(3)]
    assert [message.classified for message in first] == [Classified("crm", (email,)), Classified("other", ()), None]
    hub.revised("r2", {"crm": ()})
    second = [await anext(messages) for _ in range(2)]
    assert [message.classified for message in second] == [Classified("crm", ()), None]
    assert {message.revision for message in second} == {"r2"}
    numbers = [message.sequence for message in first + second]
    assert numbers == sorted(set(numbers))
    await messages.aclose()
