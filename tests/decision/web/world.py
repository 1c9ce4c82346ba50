"""The pages beside a certified provider, and browsers without JavaScript: httpx with cookies."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.decision.running import Running, operation, running
from tests.oidc.rig import Rig

ROLES = {"agents-plan": "planner", "agents-exec": "executor", "reviewers": "reviewer"}
PEOPLE = """principals:
  - {{name: alice, identities: [{{iss: "{iss}", sub: alice}}], groups: [dba]}}
  - {{name: bob, identities: [{{iss: "{iss}", sub: bob}}], groups: [dba]}}
  - {{name: carol, identities: [{{iss: "{iss}", sub: carol}}], groups: [dba]}}
  - {{name: dana, identities: [{{iss: "{iss}", sub: dana}}], groups: [dba]}}
agents:
  - {{name: executor-7, identities: [{{iss: "{iss}", sub: executor-7}}], owner: alice}}
"""
_FORM = re.compile(r'<form[^>]*method="post"[^>]*action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_FIELD = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')
_REFRESH = re.compile(r'http-equiv="refresh" content="0; url=([^"]*)"')


@dataclass
class Browser:
    """One person's. Forms are sent with the Origin that a browser would send."""

    origin: str
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(follow_redirects=False, timeout=30))

    async def get(self, path: str, **how: Any) -> httpx.Response:
        return await self.http.get(f"{self.origin}{path}", **how)

    async def post(self, path: str, form: dict[str, str], *, origin: str | None = None, **how: Any) -> httpx.Response:
        headers = {"Origin": self.origin if origin is None else origin, **how.pop("headers", {})}
        return await self.http.post(f"{self.origin}{path}", data=form, headers=headers, **how)

    async def leave(self, *, next_: str = "/", step_up: bool = False) -> str:
        """Begin a log-in: the address at the issuer."""
        form = {"next": next_, **({"step_up": "yes"} if step_up else {})}
        answer = await self.post("/log-in", form)
        assert answer.status_code == 200, answer.text
        found = _REFRESH.search(answer.text)
        assert found is not None, answer.text
        return html.unescape(found[1])

    async def through(self, address: str, who: str) -> str:
        """What the issuer does: the address it sends back to."""
        answer = await self.http.get(address)
        for _ in range(8):
            location = answer.headers.get("location", "")
            if location.startswith(f"{self.origin}/callback"):
                return str(location)
            if location:
                answer = await self.http.get(answer.url.join(location))
            else:
                answer = await self.http.get(answer.url.copy_with(query=f"as={who}".encode()))
        raise AssertionError(answer.text)

    async def log_in(self, who: str, *, next_: str = "/", step_up: bool = False) -> httpx.Response:
        back = await self.through(await self.leave(next_=next_, step_up=step_up), who)
        return await self.http.get(back)

    async def forms(self, path: str) -> dict[str, dict[str, str]]:
        """The hidden fields of each form that the page has, by its one button's value, else by its action."""
        page = await self.get(path)
        assert page.status_code == 200, page.text
        found: dict[str, dict[str, str]] = {}
        for action, inner in _FORM.findall(page.text):
            button = re.search(r'<button[^>]*name="verdict" value="([^"]*)"', inner)
            found[button[1] if button else action] = dict(_FIELD.findall(inner))
        return found

    async def verdict(self, path: str, verdict: str, reason: str = "") -> httpx.Response:
        token = (await self.forms(path))[verdict]["token"]
        return await self.post(path.partition("?")[0], {"token": token, "verdict": verdict, "reason": reason})


@dataclass
class World:
    run: Running
    rig: Rig
    origin: str
    browsers: list[Browser] = field(default_factory=list)

    def browser(self) -> Browser:
        self.browsers.append(Browser(self.origin))
        return self.browsers[-1]

    async def logged_in(self, who: str) -> Browser:
        browser = self.browser()
        answer = await browser.log_in(who)
        assert answer.status_code == 303, answer.text
        return browser

    async def held(self, statement: str = "DELETE FROM orders WHERE id = 1", **described: Any) -> str:
        """An approval that executor-7's session waits for."""
        token = await self.rig.client_credentials("executor-7")
        opened = await self.run.open("", "executor", token=token)
        asked = operation(statement, "delete", **described)
        decided = await self.run.decide(opened.session.id, asked)
        found = str(decided.decision.approval.id)
        assert found.startswith("apr_"), decided
        return found

    async def state(self, approval: str) -> str:
        found = await self.run.service.approvals.get(None, approval)
        return found.state.value


@contextlib.asynccontextmanager
async def world(folder: Path, *, web: Any = None, **document: Any) -> AsyncIterator[World]:
    """web: members of `web`, and document: of the settings, that differ."""
    async with Rig().running() as rig:
        issuer = {"issuer": rig.issuer, "audience": "twokey", "roles": {"claim": "groups", "map": ROLES}}
        pages = {
            "listen": "127.0.0.1:0",
            "issuer": rig.issuer,
            "client": "web",
            "secret": "secret-of-web",
            **(web or {}),
        }
        people = PEOPLE.format(iss=rig.issuer)
        async with running(folder, issuers=[issuer], people=people, document={"web": pages, **document}) as run:
            origin = str(run.service.ready_line["web"])
            await rig.redirect_to(f"{origin}/callback")
            made = World(run, rig, origin)
            try:
                yield made
            finally:
                for browser in made.browsers:
                    await browser.http.aclose()
