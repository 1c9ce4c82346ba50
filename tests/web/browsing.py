"""A real Chromium at the pages of a real service, with people who log in at a certified provider.

Everything that a page is not meant to do is kept: errors of its scripts, what its Content-Security-Policy refused,
and requests to anywhere but the service. A test that doesn't expect it fails when its pages are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, StorageState, async_playwright

from tests.decision.running import operation
from tests.decision.web.world import World, world
from tools import chromium

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
STEP_UP = {"environments": ["vault"], "max_age_s": 600, "acr": ["urn:example:two-factors"]}
CONNECTIONS = [
    {"name": name, "kind": "postgres", "environment": environment, "classification": None}
    for name, environment in (("crm", "production"), ("crm-2", "production"), ("secrets", "vault"))
]
WAIT_MS = 10_000


@dataclass
class Visit:
    """One person's window. wrong: what it did that it shouldn't."""

    page: Page
    origin: str
    wrong: list[str] = field(default_factory=list)

    async def to(self, path: str) -> None:
        await self.page.goto(f"{self.origin}{path}")

    async def heading(self) -> str:
        return (await self.page.locator("h1").inner_text()).strip()

    async def live(self) -> None:
        """Until the page follows by itself."""
        await self.page.wait_for_selector("html[data-live]", state="attached")

    async def shot(self, name: str) -> None:
        """Kept for people to look at (docs/web.md)."""
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@dataclass
class Web:
    """The service, its provider, and the browser."""

    made: World
    browser: Browser
    known: dict[str, StorageState] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def visit(self, who: str = "", *, expect: tuple[str, ...] = (), **how: Any) -> AsyncIterator[Visit]:
        """A new window, of somebody who is logged in, else of nobody. expect: parts of what may go wrong in it."""
        state = await self._state(who) if who else None
        async with self._window(state, **how) as visit:
            yield visit
        assert [line for line in visit.wrong if not any(part in line for part in expect)] == []

    @contextlib.asynccontextmanager
    async def _window(self, state: StorageState | None, **how: Any) -> AsyncIterator[Visit]:
        context = await self.browser.new_context(storage_state=state, **how)
        context.set_default_timeout(WAIT_MS)
        try:
            page = await context.new_page()
            visit = Visit(page, self.made.origin)
            _listen(context, visit, self.made)
            yield visit
        finally:
            await context.close()

    async def _state(self, who: str) -> StorageState:
        """Logged in once and used by every window: how often one address may log in is bounded."""
        if who not in self.known:
            async with self._window(None) as visit:
                await visit.to("/")
                await log_in(visit, who)
                self.known[who] = await visit.page.context.storage_state()
        return self.known[who]

    async def held(self, statement: str, *, connection: str = "crm", **described: Any) -> str:
        """An approval that executor-7's session waits for. described: also `change`, which changes the operation."""
        change = described.pop("change", None)
        token = await self.made.rig.client_credentials("executor-7")
        opened = await self.made.run.open("", "executor", token=token, connection=connection)
        asked = operation(statement, "delete", **described)
        asked.connection = connection
        if change is not None:
            change(asked)
        decided = await self.made.run.decide(opened.session.id, asked)
        found = str(decided.decision.approval.id)
        assert found.startswith("apr_"), decided
        return found


async def log_in(visit: Visit, who: str) -> None:
    """From the page with the button, by the provider's form, to where it leads back."""
    await visit.page.get_by_role("button", name="Log in").click()
    await at_provider(visit, who)


async def at_provider(visit: Visit, who: str) -> None:
    await visit.page.get_by_label("Who are you?").fill(who)
    await visit.page.get_by_role("button", name="Go on").click()
    await visit.page.wait_for_url(f"{visit.origin}/**")


def _listen(context: BrowserContext, visit: Visit, made: World) -> None:
    context.on("weberror", lambda error: visit.wrong.append(f"script: {error.error}"))
    context.on(
        "console",
        lambda message: (
            visit.wrong.append(f"console: {message.text}") if message.type in {"error", "warning"} else None
        ),
    )
    ours = (made.origin, made.rig.issuer)
    context.on(
        "request",
        lambda request: None if request.url.startswith(ours) else visit.wrong.append(f"elsewhere: {request.url}"),
    )


@contextlib.asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Web]:
    work = await asyncio.to_thread(_folders)
    try:
        started = await asyncio.to_thread(chromium.launch, work)
        async with world(folder, web={"step_up": STEP_UP}, connections=CONNECTIONS) as made, async_playwright() as play:
            browser = await play.chromium.launch(
                executable_path=started.program, env=dict(started.environ), chromium_sandbox=started.sandbox
            )
            try:
                yield Web(made, browser)
            finally:
                await browser.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _folders() -> Path:
    """A new one for the browser: not below pytest's own, which is root's alone where the tests are root's."""
    SCREENSHOTS.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="twokey-chromium-"))
    work.chmod(0o711)
    return work
