"""The listener of the web pages: its headers, its limits, and every error as a page.

Apart from /metrics and the API's endpoints, so that it can be where browsers are and they need not be.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode

from aiohttp import web

from decision.approvals.service import Approvals
from decision.errors import BadRequestError, CallerError, DecisionError, NotFoundError, StateError, TokenError
from decision.identity.fetching import is_loopback
from decision.identity.oidc import Client, LogIn
from decision.metrics import Metrics
from decision.pdp.answer import sentence
from decision.pdp.reading import Reading
from decision.rpc.auth import Authenticator
from decision.rpc.status import report
from decision.rpc.supervise import Supervisor
from decision.rpc.tls import Listener
from decision.settings import ListenerTls, Settings, SettingsError, Web
from decision.store.engine import Store
from decision.web.browsers import Browsers, LoggedOutError
from decision.web.forms import MAX_FORM
from decision.web.live import Live
from decision.web.login import CALLBACK, LogInPages, back
from decision.web.pages import Pages
from decision.web.templates import Templates

REQUEST_S: Final = 30.0
MAX_ADDRESS: Final = 4096  # of a request's line
_STATIC: Final = Path(__file__).parent / "static"
_ASSETS: Final = {"style.css": "text/css", "live.js": "text/javascript"}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}
_STATUS: Final[Sequence[tuple[type[DecisionError], int]]] = (
    (TokenError, 401),
    (NotFoundError, 404),
    (CallerError, 403),
    (StateError, 409),
    (BadRequestError, 400),
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Parts(Protocol):
    """What of the service the pages stand on."""

    @property
    def approvals(self) -> Approvals: ...

    @property
    def reading(self) -> Reading: ...

    @property
    def authenticator(self) -> Authenticator: ...

    @property
    def store(self) -> Store: ...

    @property
    def metrics(self) -> Metrics: ...


class WebServer:
    """Made by `start`, ended by `close`."""

    def __init__(self, runner: web.AppRunner, log_in: LogIn, origin: str, supervisor: Supervisor) -> None:
        self._runner = runner
        self._supervisor = supervisor
        self._log_in = log_in
        self.origin = origin

    @classmethod
    async def start(
        cls, settings: Web, parts: Parts, issuer: dict[str, object], tls: ssl.SSLContext | None, *, dev: bool
    ) -> WebServer:
        """issuer: the member of identity.issuers that `web.issuer` names.

        Raises OSError: the address is taken; SettingsError: it would be in the clear beyond this machine."""
        host, _, port = settings.listen.rpartition(":")
        if tls is None and not is_loopback(host.strip("[]")):
            raise SettingsError("web.listen is in the clear beyond loopback; add `tls`, or listen on 127.0.0.1")
        if (settings.origin or "").startswith("http://") and not is_loopback(_host(settings.origin or "")):
            raise SettingsError("web.origin is in the clear beyond loopback; write https")
        listener = await asyncio.to_thread(_bound, host.strip("[]"), int(port))
        scheme = "http" if tls is None else "https"
        origin = settings.origin or f"{scheme}://{host}:{listener.getsockname()[1]}"
        log_in = LogIn(client_of(settings, issuer, dev=dev))
        face = _Face(origin, dev=dev)
        supervisor = Supervisor()
        application = web.Application(client_max_size=MAX_FORM, middlewares=[face.guard])
        application.on_response_prepare.append(face.dress)
        application.add_routes(_routes(settings, parts, log_in, face.templates, origin, supervisor=supervisor))
        for name, kind in _ASSETS.items():
            application.router.add_get(f"/static/{name}", _asset(name, kind))
        runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=15.0, shutdown_timeout=1.0, max_line_size=MAX_ADDRESS
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener, ssl_context=tls).start()
        except OSError:
            await runner.cleanup()
            await log_in.close()
            raise
        return cls(runner, log_in, origin, supervisor)

    async def close(self) -> None:
        await self._runner.cleanup()
        await self._supervisor.drain(5.0)
        await self._log_in.close()


def _routes(
    settings: Web, parts: Parts, log_in: LogIn, templates: Templates, origin: str, *, supervisor: Supervisor
) -> list[web.RouteDef]:
    browsers = Browsers(
        store=parts.store.web,
        authenticator=parts.authenticator,
        clock=parts.store.clock,
        secure=origin.startswith("https://"),
        idle_s=settings.idle_s,
        absolute_s=settings.absolute_s,
    )
    entrance = LogInPages(
        browsers=browsers,
        log_in=log_in,
        store=parts.store.web,
        clock=parts.store.clock,
        templates=templates,
        origin=origin,
        step_up=settings.step_up,
    )
    pages = Pages(
        browsers=browsers,
        approvals=parts.approvals,
        reading=parts.reading,
        supervisor=supervisor,
        clock=parts.store.clock,
        templates=templates,
        origin=origin,
        step_up=settings.step_up,
    )
    live = Live(browsers=browsers, approvals=parts.approvals)
    return [*entrance.routes(), *pages.routes(), *live.routes()]


def client_of(settings: Web, issuer: dict[str, object], *, dev: bool) -> Client:
    """How we log people in at their issuer; its role table is the one of its other tokens."""
    roles = issuer.get("roles")
    table = roles if isinstance(roles, dict) else {}
    return Client(
        issuer=settings.issuer,
        client=settings.client,
        secret=settings.secret.get_secret_value() if settings.secret is not None else "",
        scopes=tuple(settings.scopes),
        roles_claim=str(table.get("claim", "")),
        role_map={str(name): str(role) for name, role in dict(table.get("map", {})).items()},
        loopback=dev,
        private=issuer.get("private_network") is True,
    )


async def open_pages(
    settings: Settings, parts: Parts, listeners: list[Listener]
) -> tuple[str, Callable[[], Awaitable[None]]]:
    """Their origin, and what closes them. What their certificate is read by is added to `listeners`.

    Raises OSError, TlsError, SettingsError."""
    wanted = settings.web
    if wanted is None:
        raise SettingsError("there is no `web`")
    tls = None
    if wanted.tls is not None:
        files = ListenerTls(certificate=wanted.tls.certificate, key=wanted.tls.key)
        listener = Listener("web", files, metrics=parts.metrics, now=parts.store.clock.now)
        await listener.load()
        listeners.append(listener)
        tls = listener.context()
    issuers = [one for one in settings.identity.issuers if one.get("issuer") == wanted.issuer]
    if not issuers:
        raise SettingsError("web.issuer is none of identity.issuers")
    server = await WebServer.start(wanted, parts, issuers[0], tls, dev=settings.run.dev)
    return server.origin, server.close


class _Face:
    """What every request goes through: whose name it is for, how long it may take, and what its failure looks like."""

    def __init__(self, origin: str, *, dev: bool) -> None:
        self.templates = Templates(dev=dev)
        self._host = origin.partition("://")[2]
        self._secure = origin.startswith("https://")

    async def dress(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Every answer's headers, also of those that aiohttp makes by itself."""
        response.headers.update(_HEADERS)
        if self._secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        response.headers.pop("Server", None)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host != self._host:
            return self._failed(421, "This address is not one of this service.")  # DNS rebinding, or a wrong proxy
        try:
            if request.path.endswith("/events"):
                return await handler(request)
            async with asyncio.timeout(REQUEST_S):
                return await handler(request)
        except TokenError as error:
            return self._logged_out(request, error)
        except DecisionError as error:
            again = back(request.path) if request.method == "POST" else "/"
            return self._failed(_status(error), _words(error), step=error.next_step, again=again)
        except web.HTTPRedirection:
            raise
        except web.HTTPException as error:
            return self._failed(error.status, error.reason, kept=error)
        except TimeoutError:
            return self._failed(503, "This took too long. Nothing was done that you would not see on the page.")
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge: the exception's own words may hold a caller's
            report("web", error)
            return self._failed(500, "Something went wrong inside; nothing was allowed.")

    def _logged_out(self, request: web.Request, error: TokenError) -> web.Response:
        """A page is asked for: log in first, and come back. Everything else is told so."""
        if request.method == "GET" and isinstance(error, LoggedOutError) and request.path != CALLBACK:
            query = urlencode({"next": back(request.path)})
            return web.Response(status=303, headers={"Location": f"/log-in?{query}"})
        status = 503 if error.code == "TOKEN_KEYS_UNAVAILABLE" else 401
        return self._failed(status, _words(error), logged_out=True)

    def _failed(
        self,
        status: int,
        text: str,
        *,
        step: str = "",
        again: str = "/",
        logged_out: bool = False,
        kept: web.HTTPException | None = None,
    ) -> web.Response:
        """again: the page whose form failed, to go back to."""
        facts = {"text": text, "step": step, "again": again, "logged_out": logged_out}
        response = self.templates.page("failed.html", facts, title=text[:80], status=status)
        for name in ("Allow", "Retry-After"):
            if kept is not None and name in kept.headers:
                response.headers[name] = kept.headers[name]
        return response


def _status(error: DecisionError) -> int:
    if error.code == "TOO_LARGE":
        return 413
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 503)


def _words(error: DecisionError) -> str:
    text = sentence(error)
    return text[:1000]


def _bound(host: str, port: int) -> socket.socket:
    """Listening before anything is answered: the origin needs the port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


def _asset(name: str, kind: str) -> Handler:
    content = (_STATIC / name).read_bytes()

    async def get(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return get


def _host(origin: str) -> str:
    return origin.partition("://")[2].rpartition(":")[0] or origin.partition("://")[2]
