"""The one answer of a browser that was sent to an issuer: a listener on loopback for one log-in (RFC 8252, 7.3).

It answers nothing but its own path, holds one question at a time, and ends with the first answer or after its time.
What came is judged by who asked; here it is only taken.
"""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from secrets import compare_digest
from typing import Final
from urllib.parse import parse_qs

from decision.cli.errors import CliError

PATH: Final = "/callback"
WAIT_S: Final = 300.0
_SAID: Final = b"<!doctype html><meta charset=utf-8><title>twokey</title><p>Done. You may close this window.</p>\n"
_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Listener:
    """Open from when it is made; `redirect` is where the issuer sends the browser."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self.redirect = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, state: str) -> str:
        """The query that the browser came back with; others' are let pass. Raises CliError: it didn't come back."""
        self._server.state = state
        until = time.monotonic() + WAIT_S
        while self._server.query is None:
            left = until - time.monotonic()
            if left <= 0:
                raise CliError("nobody logged in in time", next_step="begin again; --device needs no browser here")
            self._server.timeout = left
            self._server.handle_request()
        return self._server.query


class _Server(HTTPServer):
    query: str | None = None
    state = ""

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up is no answer; nothing is printed about it."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    protocol_version = "HTTP/1.0"
    server_version = "twokey"
    sys_version = ""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        state = parse_qs(query, max_num_fields=32).get("state", [""])[0] if path == PATH else ""
        server = self.server
        found = isinstance(server, _Server) and bool(state) and compare_digest(state.encode(), server.state.encode())
        self.send_response(200 if found else 404)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if found:
            self.wfile.write(_SAID)
        if found and isinstance(server, _Server):
            server.query = query

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base has it
        """Nothing: the query holds the code."""
