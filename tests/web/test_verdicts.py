"""Answering in a real browser: with and without scripts, by keyboard alone, after a fresh log-in where it weighs."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from decision.model import Approval
from tests.web.browsing import Visit, Web, at_provider, log_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])


async def given(web: Web, approval: str) -> Approval:
    found: Approval = await web.made.run.service.approvals.get(None, approval)
    return found


@BOTH
async def test_approving_with_a_reason(web: Web, scripts: bool) -> None:
    approval = await web.held(f"DELETE FROM orders WHERE id = 20 -- {scripts}")
    async with web.visit("bob", java_script_enabled=scripts) as bob:
        await bob.to(f"/requests/{approval}")
        await bob.page.get_by_label("Reason for approving").fill("ticket 4711\n<b>see</b> there")
        await bob.page.get_by_role("button", name="Approve exactly this, once").click()
        state = bob.page.locator("#live-state")
        await expect(state).to_contain_text("State: approved")
        await expect(state).to_contain_text("bob approved by web: ticket 4711\\x0a<b>see</b> there")
        assert await bob.page.locator("form textarea").count() == 0
        await bob.page.reload()  # posts nothing again
        await bob.to("/history")
        await expect(bob.page.get_by_role("row").filter(has_text=approval)).to_contain_text("approved")
        if scripts:
            await bob.shot("history")
    found = await given(web, approval)
    assert (found.state.value, len(found.verdicts), found.verdicts[0].channel) == ("approved", 1, "web")
    assert found.verdicts[0].reason == "ticket 4711\n<b>see</b> there"


@BOTH
async def test_denying_needs_a_reason(web: Web, scripts: bool) -> None:
    approval = await web.held(f"DELETE FROM orders WHERE id = 21 -- {scripts}")
    async with web.visit("bob", java_script_enabled=scripts) as bob:
        await bob.to(f"/requests/{approval}")
        await bob.page.get_by_role("button", name="Deny").click()  # the browser itself asks for one
        assert await bob.heading() == f"Request {approval}"
        assert await web.made.state(approval) == "pending"
        await bob.page.get_by_label("Reason for denying").fill("write the WHERE out")
        await bob.page.get_by_role("button", name="Deny").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("bob denied by web: write the WHERE out")
    assert await web.made.state(approval) == "denied"


async def test_a_reason_of_spaces_alone_is_no_reason_and_the_way_back_is_shown(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 22")
    async with web.visit("bob", expect=("400",)) as bob:
        await bob.to(f"/requests/{approval}")
        await bob.page.get_by_label("Reason for denying").fill("   ")
        await bob.page.get_by_role("button", name="Deny").click()
        await expect(bob.page.get_by_role("alert")).to_contain_text("say why")
        await bob.shot("failed")
        await bob.page.get_by_role("link", name="Back to the request").click()
        assert await bob.heading() == f"Request {approval}"
    assert await web.made.state(approval) == "pending"


async def test_two_windows_of_one_person_give_one_verdict(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 23")
    async with web.visit("bob", java_script_enabled=False, expect=("403",)) as bob:
        other = await bob.page.context.new_page()
        for page in (bob.page, other):
            await page.goto(f"{bob.origin}/requests/{approval}")
        await bob.page.get_by_role("button", name="Approve").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("approved")
        await other.get_by_label("Reason for denying").fill("or rather not")
        await other.get_by_role("button", name="Deny").click()
        await expect(other.get_by_role("alert")).to_be_visible()
    found = await given(web, approval)
    assert (found.state.value, len(found.verdicts)) == ("approved", 1)


async def test_the_asker_and_the_owner_have_no_request_to_answer(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 24")
    async with web.visit("alice", expect=("404",)) as alice:
        await alice.to(f"/requests/{approval}")
        await expect(alice.page.get_by_role("alert")).to_be_visible()
        assert await alice.page.get_by_role("button", name="Approve").count() == 0
        await alice.to("/")
        assert approval not in await alice.page.content()


@BOTH
async def test_a19_a_verdict_of_weight_asks_who_it_is_first(web: Web, scripts: bool) -> None:
    approval = await web.held(f"DELETE FROM orders WHERE id = 25 -- {scripts}", connection="secrets")
    async with web.visit(java_script_enabled=scripts) as bob:
        asked: list[str] = []
        await bob.to(f"/requests/{approval}")
        await log_in(bob, "bob")
        bob.page.on("request", lambda request: asked.append(request.url))
        assert await bob.page.get_by_role("button", name="Approve").count() == 0
        await expect(bob.page.get_by_role("button", name="Deny")).to_be_visible()
        if scripts:
            await bob.shot("step-up")
        await bob.page.get_by_role("button", name="Confirm that it is you").click()
        await at_provider(bob, "bob")
        assert any("max_age=600" in url and "acr_values=" in url for url in asked)
        assert await bob.heading() == f"Request {approval}"
        await bob.page.get_by_role("button", name="Approve").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("State: approved")
    assert await web.made.state(approval) == "approved"


async def test_confirming_as_somebody_else_gives_nobody_elses_verdict(web: Web) -> None:
    """Whoever is at the provider is whoever answers; the pages say who that is."""
    approval = await web.held("DELETE FROM orders WHERE id = 26", connection="secrets")
    async with web.visit() as bob:
        await bob.to(f"/requests/{approval}")
        await log_in(bob, "bob")
        await bob.page.get_by_role("button", name="Confirm that it is you").click()
        await at_provider(bob, "dana")
        await expect(bob.page.locator("header")).to_contain_text("dana")
        await bob.page.get_by_role("button", name="Approve").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("dana approved by web")


# By keyboard alone


async def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """With the Tab key, as somebody without a mouse; every stop on the way can be seen."""
    for _ in range(most):
        await page.keyboard.press("Tab")
        found, outline = await page.evaluate(
            "() => { const at = document.activeElement; const label = at.labels && at.labels[0];"
            " return [(label ? label.textContent : at.textContent || '').trim(), getComputedStyle(at).outlineStyle]; }"
        )
        assert outline != "none", f"nothing shows that {found!r} has the focus"
        if found.startswith(name):
            return
    raise AssertionError(f"Tab never comes to {name!r}")


async def write(visit: Visit, label: str, text: str) -> None:
    await tab_to(visit.page, label)
    await visit.page.keyboard.type(text)


async def test_by_keyboard_from_the_inbox_to_a_verdict(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 27")
    async with web.visit("bob") as bob:
        await bob.to("/")
        await tab_to(bob.page, approval)
        await bob.page.keyboard.press("Enter")
        await bob.page.wait_for_url(f"**/requests/{approval}")
        await write(bob, "Reason for approving", "by keys")
        await tab_to(bob.page, "Approve")
        await bob.page.keyboard.press("Space")
        await expect(bob.page.locator("#live-state")).to_contain_text("bob approved by web: by keys")


async def test_the_content_is_one_key_away(web: Web) -> None:
    async with web.visit("bob") as bob:
        await bob.to("/history")
        await bob.page.keyboard.press("Tab")
        skip = bob.page.get_by_role("link", name="Skip to the content")
        await expect(skip).to_be_focused()
        await expect(skip).to_be_in_viewport()
        await bob.page.keyboard.press("Enter")
        await expect(bob.page.locator("main")).to_be_focused()


async def test_a_long_statement_is_scrolled_by_keyboard(web: Web) -> None:
    approval = await web.held("DELETE FROM orders\n" + "\n".join(f"-- {line}" for line in range(200)))
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{approval}")
        shown = bob.page.get_by_role("region", name="The statement")
        await shown.focus()
        await bob.page.keyboard.press("End")
        await expect(shown).to_be_focused()
        await bob.page.wait_for_function("() => document.querySelector('.statement').scrollTop > 100")
