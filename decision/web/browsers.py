"""Who is at the browser: its cookie, the session behind it in the store, and the tokens that forms carry.

A cookie is 256 bits of chance, new at each log-in (nobody can choose another's), known to the store by its hash alone.
A form's token is made of the cookie and of what the form is for, so that no token of one page serves another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from aiohttp import web

from decision.errors import CallerError, TokenError
from decision.model import Subject
from decision.ports import Clock, WebSession, WebStore
from decision.rpc.auth import Authenticator

_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_TOUCH_EVERY: Final = timedelta(seconds=60)


class LoggedOutError(TokenError):
    """Nobody is logged in at this browser, or not any more."""

    code = "TOKEN_MISSING"


@dataclass(frozen=True, slots=True)
class Browser:
    """A logged-in browser."""

    secret: str = field(repr=False)
    session: WebSession

    @property
    def key(self) -> bytes:
        return digest(self.secret)

    def token(self, *purpose: str) -> str:
        """For a form with this purpose, and for no other."""
        message = "\0".join(purpose).encode()
        return hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()

    def check(self, given: str, *purpose: str) -> None:
        """Raises CallerError: the form is not one that this browser was shown."""
        if not hmac.compare_digest(given.encode(), self.token(*purpose).encode()):
            raise CallerError("this form is not from a page that was shown to you; open the page again")


class Browsers:
    """name: the cookie's. secure: browsers send it in TLS alone."""

    def __init__(
        self, *, store: WebStore, authenticator: Authenticator, clock: Clock, secure: bool, idle_s: int, absolute_s: int
    ) -> None:
        self._store = store
        self._auth = authenticator
        self._clock = clock
        self._secure = secure
        self._idle_s = idle_s
        self.absolute_s = absolute_s
        prefix = "__Host-" if secure else ""
        self.name, self.login_name = f"{prefix}twokey", f"{prefix}twokey-log-in"

    async def of(self, request: web.Request, *, passive: bool = False) -> Browser:
        """Who asks. passive: a stream that stays open, which is no sign that anybody is there.

        Raises LoggedOutError, TokenError TOKEN_REVOKED, StoreError."""
        secret = request.cookies.get(self.name, "")
        if not _COOKIE.match(secret):
            raise LoggedOutError("nobody is logged in here")
        found = await self._store.get(digest(secret), idle_s=self._idle_s)
        if found is None:
            raise LoggedOutError("your session has ended; log in again")
        browser = Browser(secret, found)
        await self.stands(browser)
        if not passive and self._clock.now() - found.used > _TOUCH_EVERY:
            await self._store.touch(browser.key)
        return browser

    async def stands(self, browser: Browser) -> None:
        """That nothing of it was revoked; else it ends. Raises TokenError, StoreError."""
        try:
            await self._auth.standing.check(browser.session.token, self._auth.questions.engine.people)
        except TokenError:
            await self._store.close(browser.key)
            raise

    async def still(self, browser: Browser) -> None:
        """The same for one that stays open: also that it was not closed. Raises as `of`."""
        if await self._store.get(browser.key, idle_s=self._idle_s) is None:
            raise LoggedOutError("your session has ended; log in again")
        await self.stands(browser)

    async def permit(self, browser: Browser, rpc: str) -> Subject:
        """As the API's call `rpc`: policy says who may. Raises CallerError, PolicyError, PolicyUnavailableError."""
        return await self._auth.permit(rpc, browser.session.token)

    async def open(self, session: WebSession, former: str) -> str:
        """A new session's cookie; the browser's former one ends. Raises StoreError."""
        await self._end(former)
        secret = secrets.token_urlsafe(32)
        await self._store.open(digest(secret), session)
        return secret

    async def close(self, browser: Browser) -> None:
        await self._end(browser.secret)

    async def _end(self, secret: str) -> None:
        if _COOKIE.match(secret):
            await self._store.close(digest(secret))

    def give(self, response: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        response.set_cookie(name, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="Lax")

    def take(self, response: web.StreamResponse, name: str) -> None:
        response.set_cookie(name, "", max_age=0, path="/", secure=self._secure, httponly=True, samesite="Lax")


def digest(secret: str) -> bytes:
    """What the store knows a cookie by."""
    return hashlib.sha256(secret.encode()).digest()
