"""How the pages look and read: on a phone, dark and light, to a screen reader (axe-core judges), and as pictures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page

from tests.web.browsing import Visit, Web
from tools import chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
NARROW = {"viewport": {"width": 320, "height": 640}}  # WCAG 1.4.10: what 400 % zoom leaves of a window
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
PAGES = ["log-in", "inbox", "history", "request", "answered", "long", "step-up", "failed", "nowhere"]
EXPECTED = ("404", "400")


def worst(asked: Any) -> None:
    """Whatever could make a page wide, or hide in it."""
    long = "n" * 63
    sql = asked.sql
    sql.relations.add(schema=long, name=long, oid=3, kind="table", via="cascade").access.append("delete")
    sql.functions.add(schema=long, name=long, language="plpgsql", volatility="volatile")
    sql.values.bound.add(type_oid=25, value=("x" * 900 + "\u202e").encode())
    sql.not_covered.append("the data of COPY FROM STDIN " + "y" * 200)
    asked.reason = "because " + "z" * 500 + "\n\u202e"


async def opened(web: Web, visit: Visit, page: str) -> None:
    """One of PAGES. A request's has everything on it that it can have."""
    statement = f"DELETE FROM orders WHERE note = '\u202e{'w' * 300}' AND \u043erders -- {page}"
    if page in {"log-in", "inbox", "history", "nowhere"}:
        await visit.to({"log-in": "/log-in", "inbox": "/", "history": "/history", "nowhere": "/nowhere"}[page])
        return
    if page == "long":
        statement += "\n" * 9000
    connection = "secrets" if page == "step-up" else "crm"
    approval = await web.held(statement, change=worst, connection=connection)
    await visit.to(f"/requests/{approval}")
    if page in {"answered", "failed"}:
        await visit.page.get_by_label("Reason for denying").fill("v" * 400 if page == "answered" else " ")
        await visit.page.get_by_role("button", name="Deny").click()
        await visit.page.wait_for_load_state()


async def violations(page: Page) -> list[str]:
    """What axe-core finds, of every rule it has but its experiments."""
    script = await asyncio.to_thread(chromium.axe)
    await page.evaluate(await asyncio.to_thread(script.read_text, encoding="utf-8"))
    found = await page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


@SCHEMES
@pytest.mark.parametrize("page", PAGES)
async def test_axe_finds_nothing(web: Web, page: str, scheme: str) -> None:
    who = "" if page == "log-in" else "bob"
    async with web.visit(who, expect=EXPECTED, color_scheme=scheme) as bob:
        await opened(web, bob, page)
        assert await violations(bob.page) == []
        await bob.shot(f"{page}-{scheme}")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("size", [PHONE, NARROW], ids=["phone", "narrow"])
async def test_nothing_is_wider_than_a_phone(web: Web, page: str, size: dict[str, Any]) -> None:
    who = "" if page == "log-in" else "bob"
    async with web.visit(who, expect=EXPECTED, **size) as bob:
        await opened(web, bob, page)
        width, room = await bob.page.evaluate(
            "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= room, f"{width} in {room}: " + ", ".join(await wide(bob.page))
        assert await small(bob.page) == []
        if size is PHONE:
            assert await violations(bob.page) == []
            await bob.shot(f"{page}-phone")


async def wide(page: Page) -> list[str]:
    """What sticks out."""
    found: list[str] = await page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right >"
        " document.documentElement.clientWidth).map((one) => one.outerHTML.slice(0, 80))"
    )
    return found


async def small(page: Page) -> list[str]:
    """Buttons that a finger misses (WCAG 2.5.8 asks for 24 pixels; ours have 44)."""
    found: list[str] = await page.evaluate(
        "() => [...document.querySelectorAll('button')].filter((one) => one.getBoundingClientRect().height < 44)"
        ".map((one) => one.outerHTML.slice(0, 80))"
    )
    return found


async def test_dark_is_dark_and_light_is_light(web: Web) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        async with web.visit("bob", color_scheme=scheme) as bob:
            await bob.to("/")
            grounds[scheme] = await bob.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 22, 26)"}


async def test_a_part_that_changed_is_announced(web: Web) -> None:
    """Live parts hold a status that a screen reader reads when it changes, and the focus stays where it was."""
    approval = await web.held("DELETE FROM orders WHERE id = 40")
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{approval}")
        await bob.live()
        await bob.page.evaluate("() => { window.kept = document.querySelector('#live-state [role=status]'); }")
        await bob.page.get_by_role("link", name="History").focus()
        dana = await web.made.logged_in("dana")
        assert (await dana.verdict(f"/requests/{approval}", "deny", "no")).status_code == 303
        await bob.page.wait_for_function("() => document.querySelector('#live-state').textContent.includes('denied')")
        # A live region that is replaced is announced by no screen reader: it must be the same one, with other words.
        assert await bob.page.evaluate("() => window.kept === document.querySelector('#live-state [role=status]')")
        assert await bob.page.evaluate("() => window.kept.textContent.includes('denied')")
        assert await bob.page.evaluate("() => document.activeElement.textContent") == "History"
