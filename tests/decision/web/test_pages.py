"""A reviewer with a browser that has no JavaScript, at a real service and a certified provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.decision.web.world import World, world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("web")) as found:
        yield found


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_reviewer_sees_and_approves(made: World) -> None:
    approval = await made.held("DELETE FROM orders WHERE note = '<b>\u202ex</b>'")
    bob = await made.logged_in("bob")
    inbox = await bob.get("/")
    assert approval in inbox.text
    page = await bob.get(f"/requests/{approval}")
    assert "&lt;b&gt;" in page.text
    assert "\\u202e" in page.text
    assert "\u202e" not in page.text
    answer = await bob.verdict(f"/requests/{approval}", "approve", "ticket 4711")
    assert answer.status_code == 303, answer.text
    assert await made.state(approval) == "approved"
    found = await made.run.service.approvals.get(None, approval)
    assert (found.verdicts[0].channel, found.verdicts[0].reason) == ("web", "ticket 4711")
    assert approval in (await bob.get("/history")).text
