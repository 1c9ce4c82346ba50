"""Sessions that end, log-ins that must be fresh, addresses that come too often: each with a service of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.decision.web.world import World, world


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[World]:
    step_up = {"environments": ["production"], "max_age_s": 60, "acr": ["urn:example:two-factors"]}
    async with world(tmp_path, web={"step_up": step_up}) as found:
        yield found


async def test_a19_a_stale_or_weak_log_in_can_deny_and_must_step_up_to_approve(made: World) -> None:
    browser = await made.logged_in("bob")
    approval = await made.held("DELETE FROM orders WHERE id = 1")
    path = f"/requests/{approval}"
    forms = await browser.forms(path)
    assert "approve" not in forms
    assert "deny" in forms
    assert forms["/log-in"] == {"next": path, "step_up": "yes"}
    answer = await browser.log_in("bob", next_=path, step_up=True)
    assert answer.headers["Location"] == path
    forms = await browser.forms(path)
    assert "approve" in forms
    weak = await made.logged_in("bob")  # the same person at another browser, as before
    stolen = {"token": forms["approve"]["token"], "verdict": "approve", "reason": ""}
    assert (await weak.post(path, stolen)).status_code == 403
    assert (await browser.verdict(path, "approve")).status_code == 303
    assert await made.state(approval) == "approved"


async def test_who_is_revoked_is_out_within_a_second_of_an_open_page_too(made: World) -> None:
    browser = await made.logged_in("bob")
    approval = await made.held("DELETE FROM orders WHERE id = 107")
    form = {**(await browser.forms(f"/requests/{approval}"))["deny"], "verdict": "deny", "reason": "no"}
    async with browser.http.stream("GET", f"{made.origin}/events") as stream:
        events = stream.aiter_lines()
        assert (await anext(events)).startswith("event: ")
        began = time.monotonic()
        await made.run.service.store.tokens.cut("party", ["bob"], "left the company")
        async with asyncio.timeout(5):
            async for line in events:
                if line == "event: ended":
                    break
        assert time.monotonic() - began < 2.0
    assert (await browser.post(f"/requests/{approval}", form)).status_code == 401
    assert await made.state(approval) == "pending"


async def test_too_many_log_ins_from_one_address_are_refused(made: World) -> None:
    browser = made.browser()
    for _ in range(40):
        answer = await browser.post("/log-in", {"next": "/"})
        if answer.status_code == 429:
            assert answer.headers["Retry-After"]
            return
    raise AssertionError("nobody was refused")
