"""attacks.md, section A, where it meets a browser: each line staged against a real service and a certified provider."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from decision.showing.render import HEAD
from tests.decision.running import operation
from tests.decision.web.world import Browser, World, world

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = "apr_" + "a" * 26


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bob(made: World) -> Browser:
    return await made.logged_in("bob")


def cookie(browser: Browser) -> str:
    return str(browser.http.cookies.get("twokey"))


# A23: cross-site requests


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1", ""], ids=["other", "null", "other-port", "empty"]
)
async def test_a23_a_verdict_from_another_page_is_refused(made: World, bob: Browser, origin: str) -> None:
    approval = await made.held(f"DELETE FROM orders WHERE id = 100 -- {origin}")
    token = (await bob.forms(f"/requests/{approval}"))["approve"]["token"]
    form = {"token": token, "verdict": "approve", "reason": ""}
    answer = await bob.post(f"/requests/{approval}", form, origin=origin)
    assert answer.status_code == 403
    assert await made.state(approval) == "pending"


async def test_a23_without_origin_or_from_another_site_as_the_browser_says(made: World, bob: Browser) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 101")
    form = {**(await bob.forms(f"/requests/{approval}"))["approve"], "verdict": "approve", "reason": ""}
    bare = await bob.http.post(f"{made.origin}/requests/{approval}", data=form)
    assert bare.status_code == 403
    told = await bob.post(f"/requests/{approval}", form, headers={"Sec-Fetch-Site": "cross-site"})
    assert told.status_code == 403
    assert await made.state(approval) == "pending"


async def test_a23_a_form_needs_its_own_token(made: World, bob: Browser) -> None:
    one, two = await made.held("DELETE FROM orders WHERE id = 1"), await made.held("DELETE FROM orders WHERE id = 2")
    other = await made.logged_in("carol")
    tokens = {
        "none": "",
        "of-another-request": (await bob.forms(f"/requests/{two}"))["approve"]["token"],
        "of-denying": (await bob.forms(f"/requests/{one}"))["deny"]["token"],
        "of-logging-out": (await bob.forms(f"/requests/{one}"))["/log-out"]["token"],
        "made-up": "0" * 64,
    }
    for name, token in tokens.items():
        answer = await bob.post(f"/requests/{one}", {"token": token, "verdict": "approve", "reason": ""})
        assert answer.status_code == 403, name
    bobs = (await bob.forms(f"/requests/{one}"))["approve"]["token"]
    assert (await other.post(f"/requests/{one}", {"token": bobs, "verdict": "approve"})).status_code == 403
    assert await made.state(one) == "pending"


async def test_a23_what_is_no_form_is_refused(made: World, bob: Browser) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 102")
    token = (await bob.forms(f"/requests/{approval}"))["approve"]["token"]
    form = f"token={token}&verdict=approve&reason="
    url = f"{made.origin}/requests/{approval}"
    headers = {"Origin": made.origin}
    bodies = {
        "text/plain": form,
        "application/json": f'{{"token":"{token}","verdict":"approve"}}',
        "application/x-www-form-urlencoded; twice": form + "&verdict=approve",
        "application/x-www-form-urlencoded; unknown": form + "&extra=1",
    }
    for kind, body in bodies.items():
        sent = {**headers, "Content-Type": kind.partition(";")[0]}
        assert (await bob.http.post(url, content=body, headers=sent)).status_code == 400, kind
    large = await bob.post(f"/requests/{approval}", {"token": token, "verdict": "approve", "reason": "x" * 100_000})
    assert large.status_code == 413
    assert await made.state(approval) == "pending"


async def test_a23_no_answer_may_be_framed_or_run_what_it_was_not_given(made: World, bob: Browser) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 103")
    paths = ["/", "/history", f"/requests/{approval}", "/log-in", "/nowhere", "/static/live.js", "/static/style.css"]
    for path in paths:
        answer = await bob.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Server" not in answer.headers
        if "html" in answer.headers["Content-Type"]:
            assert not re.search(r"<script(?![^>]* src=)|<style|<[^<>]*\s(?:style|on[a-z]+)=", answer.text), path


# A24: who follows links


async def test_a24_following_every_link_with_the_cookie_changes_nothing(made: World, bob: Browser) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 104")
    before = made.run.service.log.size
    seen, todo = set[str](), ["/", f"/requests/{approval}"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for method in ("HEAD", "GET"):
            answer = await bob.http.request(method, f"{made.origin}{path}")
            assert answer.status_code in {200, 405}, path
        todo += [link for link in re.findall(r'(?:href|action)="(/[^"#]*)', answer.text) if link != "/log-out"]
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        asked = f"{made.origin}/requests/{approval}?verdict=approve&token=x"
        await bob.http.request(method, asked)
    assert await made.state(approval) == "pending"
    assert made.run.service.log.size == before
    assert (await bob.get("/")).status_code == 200  # nor was anybody logged out


async def test_a24_an_unfurler_without_a_cookie_sees_no_statement(made: World) -> None:
    approval = await made.held("DELETE FROM orders WHERE secret = 'canary-a24'")
    stranger = made.browser()
    answer = await stranger.get(f"/requests/{approval}")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/log-in?next=%2Frequests%2F{approval}"
    assert "canary" not in (await stranger.get(answer.headers["Location"])).text


# A25, A27, A30: what stands in a field


HOSTILE = (
    "</code></pre><script>alert(1)</script>\x1b[2J\x1b]8;;http://x\x07\u202e\u2066\u200b"
    "<img src=x onerror=alert(1)>{{7*7}}"
)


async def test_a25_a27_a30_markup_escapes_and_odd_letters_are_shown_as_text(made: World, bob: Browser) -> None:
    token = await made.rig.client_credentials("executor-7")
    opened = await made.run.open("", "executor", token=token)
    asked = operation(f"DELETE FROM \u043erders WHERE note = '{HOSTILE}'", "delete")
    asked.reason = f"routine\nState: approved\n{HOSTILE}"
    asked.sql.relations[0].name = HOSTILE
    asked.sql.not_covered.append(HOSTILE)
    asked.sql.values.bound.add(type_oid=25, value=HOSTILE.encode())
    decided = await made.run.decide(opened.session.id, asked)
    approval = decided.decision.approval.id
    page = (await bob.get(f"/requests/{approval}")).text
    for page in (page, (await bob.get("/")).text):  # noqa: B020 - both pages in turn
        assert "<script>" not in page
        assert "<img" not in page
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(..)", page)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u202e\u2066]", page)
    page = (await bob.get(f"/requests/{approval}")).text
    assert "U+043E CYRILLIC SMALL LETTER O" in page
    assert "Look closely" in page
    assert page.index("What it touches") < page.index("What the asker says")
    assert "Nothing here was checked" in page


# A28: length


async def test_a28_what_is_long_is_approved_only_where_all_of_it_was_shown(made: World, bob: Browser) -> None:
    statement = "DELETE FROM orders WHERE id = 1 " + " " * (HEAD * 20) + "/* the end */"
    approval = await made.held(statement)
    path = f"/requests/{approval}"
    page = (await bob.get(path)).text
    assert "the end" in page
    assert "characters are not shown" in page
    assert str(len(statement)) in page
    forms = await bob.forms(path)
    assert "approve" not in forms
    sneaked = {"token": forms["deny"]["token"], "verdict": "approve", "reason": ""}
    assert (await bob.post(path, sneaked)).status_code == 403
    assert await made.state(approval) == "pending"
    whole = (await bob.get(f"{path}?whole")).text
    assert "characters are not shown" not in whole
    assert " " * (HEAD * 20) in whole
    assert (await bob.verdict(f"{path}?whole", "approve")).status_code == 303
    assert await made.state(approval) == "approved"


async def test_a28_a_mebibyte_is_denied_here_but_not_approved(made: World, bob: Browser) -> None:
    approval = await made.held("DELETE FROM orders -- " + "x" * (1 << 20))
    began = time.monotonic()
    forms = await bob.forms(f"/requests/{approval}?whole")
    assert time.monotonic() - began < 10
    assert "approve" not in forms
    assert (await bob.verdict(f"/requests/{approval}", "deny", "too long")).status_code == 303
    assert await made.state(approval) == "denied"


async def test_a28_what_is_hidden_at_the_end_of_a_value_is_shown_before_it_can_be_approved(
    made: World, bob: Browser
) -> None:
    token = await made.rig.client_credentials("executor-7")
    opened = await made.run.open("", "executor", token=token)
    asked = operation("DELETE FROM orders WHERE note = $1", "delete")
    asked.sql.values.bound.add(type_oid=25, value=b"harmless" + b" " * 9000 + b"' the deed")
    decided = await made.run.decide(opened.session.id, asked)
    path = f"/requests/{decided.decision.approval.id}"
    assert "the deed" not in (await bob.get(path)).text
    assert "approve" not in await bob.forms(path)
    assert "the deed" in (await bob.get(f"{path}?whole")).text
    assert (await bob.verdict(f"{path}?whole", "approve")).status_code == 303


# A1, A4, A32: whose request it is


async def test_a4_the_owner_of_the_asking_agent_has_no_verdict(made: World) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 105")
    alice = await made.logged_in("alice")
    assert (await alice.get(f"/requests/{approval}")).status_code == 404
    assert approval not in (await alice.get("/")).text


async def test_a32_another_ones_request_and_no_request_are_answered_alike(made: World) -> None:
    approval = await made.held("DELETE FROM orders WHERE id = 106")
    alice = await made.logged_in("alice")
    form = {"token": "0" * 64, "verdict": "approve", "reason": ""}
    for ask in (lambda one: alice.get(f"/requests/{one}"), lambda one: alice.post(f"/requests/{one}", form)):
        theirs, nobodys = await ask(approval), await ask(UNKNOWN)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.text.replace(approval, "ID") == nobodys.text.replace(UNKNOWN, "ID")
    assert await made.state(approval) == "pending"


async def test_who_has_no_role_sees_nothing(made: World) -> None:
    carol = await made.logged_in("carol")  # of the group, without the role
    answer = await carol.get("/")
    assert answer.status_code == 403


# The log-in itself


async def test_a_log_in_is_ended_by_the_browser_that_began_it_and_once(made: World) -> None:
    victim, attacker = made.browser(), made.browser()
    back = await attacker.through(await attacker.leave(), "bob")
    assert (await victim.http.get(back)).status_code == 401  # the attacker's log-in in the victim's browser
    assert victim.http.cookies.get("twokey") is None
    again = await attacker.through(await attacker.leave(), "bob")
    assert (await attacker.http.get(again)).status_code == 303
    assert (await attacker.http.get(again)).status_code == 401  # replayed


@pytest.mark.parametrize("change", ["state", "iss", "code", "error", "twice"])
async def test_an_answer_that_was_changed_logs_nobody_in(made: World, change: str) -> None:
    browser = made.browser()
    url = httpx.URL(await browser.through(await browser.leave(), "bob"))
    if change == "error":
        url = url.copy_remove_param("code").copy_set_param("error", "access_denied<script>")
    elif change == "twice":
        url = url.copy_add_param("code", "other")
    else:
        url = url.copy_set_param(change, "other")
    answer = await browser.http.get(url)
    assert answer.status_code == 401
    assert "<script>" not in answer.text
    assert browser.http.cookies.get("twokey") is None


async def test_a_cookie_chosen_by_somebody_else_is_not_taken_over(made: World) -> None:
    browser = made.browser()
    chosen = "A" * 43
    browser.http.cookies.set("twokey", chosen, domain="127.0.0.1", path="/")
    assert (await browser.get("/")).status_code == 303
    await browser.log_in("bob")
    assert all(one.value != chosen for one in browser.http.cookies.jar if one.domain == "127.0.0.1" and one.path == "/")


async def test_logging_in_again_ends_the_former_session(made: World) -> None:
    browser = await made.logged_in("bob")
    former = cookie(browser)
    await browser.log_in("bob")
    assert cookie(browser) != former
    thief = made.browser()
    thief.http.cookies.set("twokey", former, domain="127.0.0.1", path="/")
    assert (await thief.get("/")).status_code == 303


@pytest.mark.parametrize(
    "next_",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/requests/../log-out",
        "javascript:alert(1)",
        "/%0d%0aX: y",
    ],
    ids=["absolute", "scheme-relative", "backslash", "dots", "javascript", "header"],
)
async def test_a_log_in_leads_back_to_pages_of_ours_alone(made: World, next_: str) -> None:
    browser = made.browser()
    answer = await browser.log_in("bob", next_=next_)
    assert answer.headers["Location"] == "/"
    shown = await browser.get("/log-in", params={"next": next_})
    assert 'name="next" value="/"' in shown.text


async def test_logging_out_ends_the_session_for_good(made: World) -> None:
    browser = await made.logged_in("bob")
    kept = cookie(browser)
    token = (await browser.forms("/"))["/log-out"]["token"]
    assert (await browser.post("/log-out", {"token": "0" * 64})).status_code == 403
    assert (await browser.get("/")).status_code == 200
    assert (await browser.post("/log-out", {"token": token})).status_code == 303
    browser.http.cookies.set("twokey", kept, domain="127.0.0.1", path="/")
    assert (await browser.get("/")).status_code == 303


async def test_another_name_that_leads_here_is_refused(made: World, bob: Browser) -> None:
    answer = await bob.get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 421
