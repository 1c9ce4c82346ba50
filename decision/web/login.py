"""Logging in and out. A log-in begins by POST, so that nothing that follows links begins one, and ends at /callback."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Final

from aiohttp import web

from decision.errors import CallerError, TokenError
from decision.identity import oidc
from decision.identity.oidc import LogIn
from decision.model import VerifiedToken
from decision.ports import Clock, WebSession, WebStore
from decision.settings import StepUp
from decision.web import forms
from decision.web.browsers import Browsers, LoggedOutError, digest
from decision.web.limits import Attempts
from decision.web.templates import Templates

CALLBACK: Final = "/callback"
LOGIN_S: Final = 600
# Where a log-in may lead back to: pages of ours by their very shape, so that no address leads elsewhere.
_BACK: Final = re.compile(r"/(?:history|requests/apr_[a-z2-7]{26})?\Z")
_PARAMETER: Final = re.compile(r"[\x21-\x7e]{1,2048}\Z")


def back(value: str) -> str:
    return value if _BACK.match(value) else "/"


class LogInPages:
    def __init__(
        self,
        *,
        browsers: Browsers,
        log_in: LogIn,
        store: WebStore,
        clock: Clock,
        templates: Templates,
        origin: str,
        step_up: StepUp | None,
    ) -> None:
        self._browsers = browsers
        self._log_in = log_in
        self._store = store
        self._clock = clock
        self._templates = templates
        self._origin = origin
        self._step_up = step_up
        self._attempts = Attempts()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/log-in", self.ask),
            web.post("/log-in", self.begin),
            web.get(CALLBACK, self.finish),
            web.post("/log-out", self.end),
        ]

    async def ask(self, request: web.Request) -> web.Response:
        """The page with the button; it begins nothing."""
        return self._templates.page("log_in.html", {"next": back(request.query.get("next", ""))}, title="Log in")

    async def begin(self, request: web.Request) -> web.Response:
        """A page that leads on to the issuer. Not a redirect: a form's redirects are bound by form-action, which would
        have to name every provider that the issuer itself may send people to."""
        forms.same_origin(request, self._origin)
        form = await forms.fields(request, frozenset({"next", "step_up"}))
        if not self._attempts.allows(request.remote or ""):
            raise web.HTTPTooManyRequests(headers={"Retry-After": "30"})
        step_up = self._step_up if form["step_up"] else None
        begun = oidc.begin() if step_up is None else oidc.begin(max_age=step_up.max_age_s, acr=tuple(step_up.acr))
        state, binder = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        address = await self._log_in.begin(state=state, redirect=self._origin + CALLBACK, begun=begun)
        facts = {
            "nonce": begun.nonce,
            "verifier": begun.verifier,
            "next": back(form["next"]),
            "step_up": "yes" if step_up is not None else "",
        }
        await self._store.begin(_key(state, binder), facts, seconds=LOGIN_S)
        response = self._templates.page("leaving.html", {"address": address}, title="Going to your log-in")
        self._browsers.give(response, self._browsers.login_name, binder, LOGIN_S)
        return response

    async def finish(self, request: web.Request) -> web.Response:
        """The issuer's answer. Only the browser that began this log-in can end it, and once."""
        given = {name: request.query.getall(name, []) for name in ("state", "code", "iss")}
        if any(len(values) > 1 or not all(map(_PARAMETER.match, values)) for values in given.values()):
            raise TokenError("the issuer's answer can't be read", code="TOKEN_MALFORMED")
        state, code, issuer = (next(iter(given[name]), None) for name in ("state", "code", "iss"))
        binder = request.cookies.get(self._browsers.login_name, "")
        facts = await self._store.finish(_key(state or "", binder)) if state and binder else None
        if facts is None:
            raise LoggedOutError("this log-in was not begun here, or it took too long; begin again")
        if code is None:
            raise LoggedOutError("the issuer did not log you in")
        step_up = self._step_up if facts.get("step_up") else None
        begun = oidc.Begun(
            nonce=facts.get("nonce", ""),
            verifier=facts.get("verifier", ""),
            max_age=None if step_up is None else step_up.max_age_s,
            acr=() if step_up is None else tuple(step_up.acr),
        )
        who = await self._log_in.finish(code=code, answered_by=issuer, redirect=self._origin + CALLBACK, begun=begun)
        secret = await self._browsers.open(self._session(who), request.cookies.get(self._browsers.name, ""))
        response = web.Response(status=303, headers={"Location": back(facts.get("next", ""))})
        self._browsers.give(response, self._browsers.name, secret, self._browsers.absolute_s)
        self._browsers.take(response, self._browsers.login_name)
        return response

    async def end(self, request: web.Request) -> web.Response:
        forms.same_origin(request, self._origin)
        form = await forms.fields(request, frozenset({"token"}))
        try:
            browser = await self._browsers.of(request)
        except TokenError:
            browser = None
        if browser is not None:
            browser.check(form["token"], "log-out")
            await self._browsers.close(browser)
        response = web.Response(status=303, headers={"Location": "/log-in"})
        self._browsers.take(response, self._browsers.name)
        return response

    def _session(self, who: oidc.LoggedIn) -> WebSession:
        now = self._clock.now()
        if who.issued > now + timedelta(seconds=oidc.LEEWAY_S):
            raise CallerError("the issuer's clock is ahead of ours")
        token = VerifiedToken(
            identity=who.identity,
            actors=(),
            roles=who.roles,
            expires=now + timedelta(seconds=self._browsers.absolute_s),
            token_id=who.token_id,
            dev=False,
            issuer=who.identity.iss,
            issued=who.issued,
        )
        return WebSession(token=token, auth_time=who.auth_time, acr=who.acr, used=now)


def _key(state: str, binder: str) -> bytes:
    return digest(f"{state}\0{binder}")
