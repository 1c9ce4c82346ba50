"""Questions to OPA over HTTP, by opa-python-client's async client.

The client's own `query_rule` reads bodies without a bound, follows redirects and takes any status below 400; so this
subclass keeps its request loop, makes the session, and reads the answer itself (docs/decisions/0004-opa-sidecar.md).
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
from opa_client.opa_async import AsyncOpaClient

from decision.errors import PolicyError, PolicyLoadError, PolicyUnavailableError
from decision.model import JSON
from decision.policy.wire import MAX_ANSWER, Session

QUESTION_DEADLINE_S = 1.0
HEALTH_DEADLINE_S = 1.0

_DECISION = "data/twokey/main/decision?strict-builtin-errors=true"
_MAX_CONNECTIONS = 64
_LARGE_BODY = 512 * 1024
_MAX_KNOWN = 8192  # bytes of an answer whose reading is remembered


@dataclass(frozen=True, slots=True)
class Answer:
    """`result` as OPA gave it, unchecked; `bundles`: the revisions that answered ("" where not asked for); `content`:
    the bytes that all this was read from."""

    result: object
    bundles: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Local:
    """An OPA on this machine: the socket it listens on, and its process."""

    socket: Path
    process: int


class OpaClient(AsyncOpaClient):  # type: ignore[misc] # the library has no types
    """One OPA, by URL and token, over kept-alive connections."""

    def __init__(self, base: str, token: str, *, provenance: bool, local: Local | None = None) -> None:
        """`base`: scheme, host, port and path prefix. `local`: an OPA that this service started.

        Raises PolicyLoadError where the token would travel in clear.
        """
        parts = urlsplit(base)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or parts.username:
            raise PolicyLoadError("opa.url is not a plain URL of OPA", next_step="write https://host:port")
        if parts.scheme == "http" and host not in {"127.0.0.1", "::1", "localhost"}:
            raise PolicyLoadError("opa.url is not on loopback and not https", next_step="use https")
        secure = parts.scheme == "https"
        super().__init__(
            host=host,
            port=parts.port or (443 if secure else 80),
            ssl=secure,
            token=token,
            retries=0,
            timeout=QUESTION_DEADLINE_S,
        )
        self.root_url = f"{base.rstrip('/')}/v1"
        self._health_url = f"{base.rstrip('/')}/health"
        self._question_url = f"{self.root_url}/{_DECISION}{'&provenance=true' if provenance else ''}"
        self._provenance = provenance
        self._local = local

    async def _init_session(self) -> None:
        """The library's hook: here with connections kept, no cookies; or decision.policy.wire's."""
        if self._local:
            headers = {**self.headers, "Content-Type": "application/json"}
            self._session: Session | aiohttp.ClientSession = Session(
                self._local.socket, headers, server=self._local.process
            )
            return
        self._connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers=self.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=QUESTION_DEADLINE_S),
            auto_decompress=False,
        )

    async def open(self) -> None:
        """Make the session. Nothing is sent."""
        await self._init_session()

    async def close(self) -> None:
        await self.close_connection()

    async def healthy(self) -> bool:
        """GET /health within a second."""
        try:
            async with asyncio.timeout(HEALTH_DEADLINE_S):
                async with self._request("GET", self._health_url, allow_redirects=False) as response:
                    return bool(response.status == 200)
        except (TimeoutError, OSError, aiohttp.ClientError, PolicyError):
            return False

    async def ask(self, document: JSON, package: str = "") -> Answer:
        """One question within QUESTION_DEADLINE_S, all told. `package`: another than main whose decision is asked for.

        Raises PolicyUnavailableError (unreachable, late) and PolicyError (anything but 200 with a `result`).
        """
        try:
            body = orjson.dumps({"input": document})
        except TypeError as error:
            raise PolicyError(f"the question can't be written as JSON: {error}") from None
        try:
            async with asyncio.timeout(QUESTION_DEADLINE_S):
                status, content = await self._post(body, self._url_of(package) if package else self._question_url)
        except TimeoutError:
            raise PolicyUnavailableError(f"OPA did not answer within {QUESTION_DEADLINE_S:g} s") from None
        except (OSError, aiohttp.ClientError) as error:
            raise PolicyUnavailableError(f"OPA can't be asked ({type(error).__name__})") from None
        return self._read(status, content)

    def _url_of(self, package: str) -> str:
        path = package.replace(".", "/")
        return self._question_url.replace("data/twokey/main/decision?", f"data/{path}/decision?")

    async def _post(self, body: bytes, url: str) -> tuple[int, bytes]:
        """One more try where a kept-alive connection turns out to be closed: a question has no effects."""
        try:
            return await self._post_once(body, url)
        except aiohttp.ServerDisconnectedError:
            return await self._post_once(body, url)

    async def _post_once(self, body: bytes, url: str) -> tuple[int, bytes]:
        if self._local:
            async with self._request("POST", url, data=body) as answer:
                return answer.status, answer.body
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        data = io.BytesIO(body) if len(body) > _LARGE_BODY else body  # large ones in pieces, so that others get a turn
        request = self._request("POST", url, data=data, headers=headers, allow_redirects=False)
        content = bytearray()
        async with request as response:
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise PolicyError("OPA answered more than 4 MiB")
            return response.status, bytes(content)

    def _read(self, status: int, content: bytes) -> Answer:
        body = _known(content) if len(content) <= _MAX_KNOWN else _parsed(content)
        if status != 200:
            raise PolicyError(f"OPA answered HTTP {status}{_cause(body)}")
        if not isinstance(body, dict):
            raise PolicyError("OPA answered something that is not a JSON object")
        if "result" not in body:
            raise PolicyError("the policy has no decision: data.twokey.main.decision is undefined")
        return Answer(body["result"], _bundles(body) if self._provenance else "", content)


def _parsed(content: bytes) -> object:
    """None where it isn't JSON."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


@lru_cache(256)
def _known(content: bytes) -> object:
    """Policy says the same to most questions. Shared by those who were answered so: not to be changed."""
    return _parsed(content)


def _cause(body: object) -> str:
    """Error codes and places; not the messages, which quote values of the question."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    found = [str(body.get("code", ""))[:64]]
    for item in errors[:5] if isinstance(errors, list) else []:
        if isinstance(item, dict):
            place = item.get("location")
            spot = f" at {place.get('file')}:{place.get('row')}" if isinstance(place, dict) else ""
            found.append(f"{item.get('code')}{spot}"[:200])
    return f" ({', '.join(filter(None, found))})"


def _bundles(body: Mapping[str, object]) -> str:
    """The bundles' revisions by `provenance=true`, as one text. Raises PolicyError where OPA names none."""
    provenance = body.get("provenance")
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    revisions: dict[str, str] = {}
    for name, item in (bundles if isinstance(bundles, dict) else {}).items():
        revision = item.get("revision") if isinstance(item, dict) else None
        if not isinstance(revision, str) or not revision:
            raise PolicyError("the remote OPA serves a bundle without a revision")
        revisions[str(name)] = revision
    if not revisions:
        raise PolicyError("the remote OPA serves no bundle, so no revision can be named")
    return orjson.dumps(revisions, option=orjson.OPT_SORT_KEYS).decode()
