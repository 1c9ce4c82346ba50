"""What a reviewer reads in a real browser: logging in, the inbox, one request, and what changes while they read."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

from tests.web.browsing import Web, log_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])


@BOTH
async def test_logging_in_is_code_and_pkce_and_leads_back(web: Web, scripts: bool) -> None:
    approval = await web.held(f"DELETE FROM orders WHERE id = 1 -- {scripts}")
    async with web.visit(java_script_enabled=scripts) as bob:
        asked: list[str] = []
        bob.page.on("request", lambda request: asked.append(request.url))
        await bob.to(f"/requests/{approval}")
        assert await bob.heading() == "Log in"
        assert not any(url.startswith(web.made.rig.issuer) for url in asked)  # a link begins no log-in
        await log_in(bob, "bob")
        assert urlsplit(bob.page.url).path == f"/requests/{approval}"
        assert await bob.heading() == f"Request {approval}"
        at = next(url for url in asked if url.startswith(f"{web.made.rig.issuer}/auth?"))
        query = parse_qs(urlsplit(at).query)
        assert query["response_type"] == ["code"]
        assert query["code_challenge_method"] == ["S256"]
        assert query["state"]
        assert query["nonce"]
        cookies = {one["name"]: one for one in await bob.page.context.cookies(bob.origin)}
        assert cookies["twokey"]["httpOnly"]
        assert cookies["twokey"]["sameSite"] == "Lax"
        assert "twokey-log-in" not in cookies
        await bob.page.get_by_role("button", name="Log out").click()
        assert await bob.heading() == "Log in"
        await bob.to("/")
        assert await bob.heading() == "Log in"


async def test_the_inbox_says_who_asks_for_what(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 2")
    async with web.visit("bob") as bob:
        await bob.to("/")
        row = bob.page.get_by_role("row").filter(has_text=approval)
        await expect(row).to_contain_text("executor-7 (agent of alice)")
        await expect(row).to_contain_text("crm (production)")
        await expect(row).to_contain_text("DELETE FROM orders WHERE id = 2")
        await bob.shot("inbox")
        await row.get_by_role("link", name=approval).click()
        assert await bob.heading() == f"Request {approval}"
        await bob.page.get_by_role("link", name="History").click()
        assert await bob.heading() == "History"
