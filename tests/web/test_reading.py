"""What a reviewer reads in a real browser: logging in, the inbox, one request, and what changes while they read."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import expect

from decision.showing.render import HEAD
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


def _everything(asked: Any) -> None:
    """Values, a cascade, a trigger's function, data that no digest covers, and words of the asker's."""
    sql = asked.sql
    sql.values.bound.add(type_oid=23, value=b"50007")
    sql.values.bound.add(type_oid=25, value="gold\u202e\u200b".encode())
    child = sql.relations.add(schema="public", name="order_items", oid=2, kind="table", via="cascade")
    child.access.append("delete")
    sql.functions.add(schema="public", name="audit_row", language="plpgsql", volatility="volatile")
    sql.not_covered.append("the data of COPY FROM STDIN")
    asked.reason = "routine clean-up\nState: approved"


@BOTH
async def test_a_request_says_all_that_is_signed(web: Web, scripts: bool) -> None:
    statement = f"DELETE FROM orders\nWHERE id = $1 AND tier = $2 -- \u202ereversed\u2066 \x1b[2J \u043erders {scripts}"
    approval = await web.held(statement, change=_everything)
    async with web.visit("bob", java_script_enabled=scripts) as bob:
        await bob.to(f"/requests/{approval}")
        main = bob.page.locator("main")
        shown = bob.page.get_by_role("region", name="The statement")
        await expect(shown).to_contain_text("-- \\u202ereversed\\u2066 \\x1b[2J")
        odd = [text.strip() for text in await shown.locator(".odd").all_inner_texts()]
        assert {"\\u202e", "\\u2066", "\\x1b"} <= set(odd)
        await expect(bob.page.get_by_role("region", name="Look closely")).to_contain_text(
            "U+043E CYRILLIC SMALL LETTER O"
        )
        await expect(main).to_contain_text(sha256(statement.encode()).hexdigest())
        await expect(bob.page.get_by_role("region", name="Bound values")).to_contain_text("$1 = 50007 (int4, 5 bytes)")
        await expect(bob.page.get_by_role("region", name="Bound values")).to_contain_text("'gold\\u202e\\u200b'")
        touched = bob.page.get_by_role("region", name="What it touches")
        await expect(touched).to_contain_text("public.orders: delete")
        await expect(touched).to_contain_text("public.order_items: delete, by cascade")
        await expect(touched).to_contain_text("public.audit_row")
        await expect(touched).to_contain_text("estimate   10 rows", use_inner_text=True)
        await expect(bob.page.get_by_role("region", name="What you can't see here")).to_contain_text("COPY FROM STDIN")
        await expect(bob.page.get_by_role("region", name="Why policy asks")).to_contain_text("SQL-DELETE")
        chain = bob.page.get_by_role("region", name="Who asks for whom")
        await expect(chain).to_contain_text("executor-7 (agent of alice)")
        said = bob.page.get_by_role("region", name="What the asker says")
        await expect(said).to_contain_text("Nothing here was checked")
        if scripts:
            await bob.shot("request")


@BOTH
async def test_what_is_long_is_shown_whole_when_asked_and_then_approved(web: Web, scripts: bool) -> None:
    approval = await web.held(f"DELETE FROM orders -- {scripts}\n" + "\n" * (HEAD * 3) + "WHERE id = 5 /* the end */")
    async with web.visit("bob", java_script_enabled=scripts) as bob:
        await bob.to(f"/requests/{approval}")
        shown = bob.page.get_by_role("region", name="The statement")
        await expect(shown).to_contain_text("characters are not shown")
        await expect(shown).to_contain_text("the end")
        assert await bob.page.get_by_role("button", name="Approve").count() == 0
        assert await bob.page.get_by_role("button", name="Deny").count() == 1
        if scripts:
            await bob.shot("long")
        await bob.page.get_by_role("link", name="Show the whole statement").click()
        await expect(shown).not_to_contain_text("characters are not shown")
        await bob.page.get_by_role("button", name="Approve").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("approved")
    assert await web.made.state(approval) == "approved"


async def test_former_requests_alike_are_linked(web: Web) -> None:
    def shape(asked: Any) -> None:
        asked.shape_digest = b"of these two".ljust(32, b".")

    former = await web.held("DELETE FROM orders WHERE id = 10", change=shape)
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{former}")
        await bob.page.get_by_label("Reason for denying").fill("not today")
        await bob.page.get_by_role("button", name="Deny").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("denied")
        again = await web.held("DELETE FROM orders WHERE id = 11", change=shape)
        await bob.to(f"/requests/{again}")
        alike = bob.page.get_by_role("region", name="Alike, before")
        await expect(alike.get_by_role("row").filter(has_text=former)).to_contain_text("denied")
        await alike.get_by_role("link", name=former).click()
        assert await bob.heading() == f"Request {former}"


# What changes while somebody reads


async def test_the_inbox_follows_by_itself(web: Web) -> None:
    async with web.visit("bob") as bob:
        await bob.to("/")
        await bob.live()
        await expect(bob.page.get_by_text("This page follows by itself.")).to_be_visible()
        approval = await web.held("DELETE FROM orders WHERE id = 6")
        row = bob.page.get_by_role("row").filter(has_text=approval)
        await expect(row).to_be_visible(timeout=4000)
        dana = await web.made.logged_in("dana")
        assert (await dana.verdict(f"/requests/{approval}", "deny", "no")).status_code == 303
        await expect(row).to_have_count(0, timeout=4000)


async def test_a_request_that_is_decided_elsewhere_loses_its_form_and_says_so(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 7")
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{approval}")
        await bob.live()
        await bob.page.get_by_label("Reason for approving").fill("half a sent")
        dana = await web.made.logged_in("dana")
        assert (await dana.verdict(f"/requests/{approval}", "deny", "seen by dana")).status_code == 303
        state = bob.page.locator("#live-state")
        await expect(state).to_contain_text("State: denied", timeout=4000)
        await expect(state).to_contain_text("seen by dana")
        await expect(bob.page.get_by_role("button", name="Approve")).to_have_count(0)


async def test_what_somebody_writes_is_not_lost_while_it_is_still_asked_for(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 8")
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{approval}")
        await bob.live()
        reason = bob.page.get_by_label("Reason for denying")
        await reason.fill("I am still wri")
        await web.held("DELETE FROM orders WHERE id = 9")
        await bob.page.wait_for_timeout(1500)
        await expect(reason).to_have_value("I am still wri")


async def test_who_is_logged_out_elsewhere_sees_it_at_once(web: Web) -> None:
    async with web.visit() as bob:
        await bob.to("/")
        await log_in(bob, "bob")
        await bob.live()
        other = await bob.page.context.new_page()
        await other.goto(f"{bob.origin}/")
        await other.get_by_role("button", name="Log out").click()
        await expect(bob.page.locator("h1")).to_have_text("Log in", timeout=4000)
