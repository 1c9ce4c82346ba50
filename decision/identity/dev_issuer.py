"""The development issuer: tokens for the names of people.yaml, only with --dev, only on this machine.

Its Ed25519 key lives in memory for one run. Tokens are minted through a unix socket that only this user can reach: a
0700 folder, a 0600 socket, and the peer's uid asked of the kernel (unix(7), SO_PEERCRED).

One request a connection, one line of JSON each way:
`{"subject": NAME, "role": ROLE | "roles": [ROLE], "actors": [NAME], "ttl_s": SECONDS}` -> `{"token": …}` or
`{"error": …}`. `actors[0]` is the current actor, as in VerifiedToken. `actors` and `ttl_s` (3600) may be absent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import stat
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import structlog
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from decision.errors import DecisionError
from decision.identity.claims import MAX_ACTORS, ClaimRules
from decision.identity.fetching import is_loopback
from decision.identity.jose import MAX_TOKEN, VerificationKey
from decision.identity.keys import FixedKeys
from decision.identity.people import DEV_ISSUER
from decision.ports import People

AUDIENCE = "twokey"
SOCKET = Path("dev") / "issuer.sock"  # under run.state_dir

_MAX_TTL_S = 86_400
_MAX_LINE = 64 * 1024
_REQUEST_DEADLINE_S = 5.0
_AT_ONCE = 16
_MAX_ADDRESS = 100
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_KEYS = frozenset({"subject", "role", "roles", "actors", "ttl_s"})

_log = structlog.get_logger("decision.identity")


class MintError(DecisionError):
    """The request for a development token can't be granted; the text says why."""

    code = "INVALID_REQUEST"


class DevIssuer:
    """Mints and serves. `rules` and `keys` make its tokens verifiable by decision.identity.tokens."""

    def __init__(self, people: Callable[[], People], *, clock: Callable[[], float] = time.time) -> None:
        self._people = people
        self._clock = clock
        self._key = OKPKey.generate_key("Ed25519")
        self._kid = secrets.token_urlsafe(12)
        public = OKPKey.import_key(self._key.as_dict(private=False))
        self.keys = FixedKeys({self._kid: VerificationKey(public, "OKP", "Ed25519", "Ed25519")})
        self.rules = ClaimRules(issuer=DEV_ISSUER, audience=AUDIENCE, roles_claim="roles", role_map=None, dev=True)
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    def mint(self, subject: str, roles: Sequence[str], actors: Sequence[str] = (), *, ttl_s: int = 3600) -> str:
        """A token for names of people.yaml. Raises MintError."""
        if not 1 <= ttl_s <= _MAX_TTL_S:
            raise MintError(f"ttl_s is not from 1 to {_MAX_TTL_S}")
        if not all(_ROLE.match(role) for role in roles):
            raise MintError("a role is a-z, 0-9, '.', '_' and '-'")
        names = (subject, *actors)
        if len(set(names)) != len(names) or len(actors) > MAX_ACTORS:
            raise MintError(f"at most {MAX_ACTORS} actors, nobody twice")
        people = self._people()
        for name in names:
            if people.by_name(name) is None:
                raise MintError(f"people.yaml has no {name[:128]!r}")
        now = int(self._clock())
        claims: dict[str, object] = {
            "iss": DEV_ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": "twokey-dev",
            "iat": now,
            "exp": now + ttl_s,
            "jti": secrets.token_urlsafe(16),
            "roles": sorted(set(roles)),
        }
        chain: dict[str, object] | None = None
        for name in reversed(actors):
            chain = {"iss": DEV_ISSUER, "sub": name} | ({"act": chain} if chain else {})
        if chain is not None:
            claims["act"] = chain
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": self._kid}
        return serialize_compact(header, orjson.dumps(claims), self._key, algorithms=["Ed25519"])

    async def serve(self, state_dir: Path) -> None:
        """Listen on `state_dir`/dev/issuer.sock. Raises DecisionError where the folder isn't ours alone."""
        path = state_dir / SOCKET
        _private_folder(path.parent)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)  # left by a run that was killed
            _bind(listener, path)
            path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._answer, sock=listener, limit=_MAX_LINE)
        except OSError as error:
            listener.close()
            raise DecisionError(f"the dev issuer can't listen on {path}: {error}", code="DEV_ISSUER") from None
        self._path = path

    async def close(self) -> None:
        """Stop minting. Tokens already out stay valid for as long as this object verifies them."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _peer_uid(writer) != os.getuid():
                return
            async with asyncio.timeout(_REQUEST_DEADLINE_S), self._at_once:
                writer.write(orjson.dumps(self._reply(await reader.readline())) + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):  # readline: a line beyond the limit is a ValueError
            _log.info("dev-issuer-request-dropped")
        finally:
            writer.close()

    def _reply(self, line: bytes) -> Mapping[str, str]:
        try:
            token = self._mint_requested(orjson.loads(line))
            if len(token) > MAX_TOKEN:
                raise MintError("the token would be too large")
        except orjson.JSONDecodeError:
            return {"error": "the request is not one line of JSON"}
        except MintError as error:
            return {"error": str(error)}
        return {"token": token}

    def _mint_requested(self, request: object) -> str:
        if not isinstance(request, dict) or not request.keys() <= _KEYS or "subject" not in request:
            raise MintError("the request is {subject, role or roles, actors, ttl_s}")
        if ("role" in request) == ("roles" in request):
            raise MintError("give role or roles")
        roles = request["roles"] if "roles" in request else [request["role"]]
        actors = request.get("actors", [])
        ttl_s = request.get("ttl_s", 3600)
        texts = [request["subject"], *(roles if isinstance(roles, list) else [None])]
        texts += actors if isinstance(actors, list) else [None]
        if not all(isinstance(text, str) for text in texts) or not isinstance(ttl_s, int) or isinstance(ttl_s, bool):
            raise MintError("names and roles are texts, ttl_s is a whole number")
        return self.mint(request["subject"], roles, actors, ttl_s=ttl_s)


async def start_dev_issuer(state_dir: Path, *, people: Callable[[], People]) -> DevIssuer:
    """A fresh key, and the socket open. Only with --dev: the caller decides that. Raises DecisionError."""
    issuer = DevIssuer(people)
    await issuer.serve(state_dir)
    return issuer


def refuse_off_loopback(upstreams: Sequence[str], store: str) -> None:
    """Development tokens are for this machine. `upstreams` and `store` are URLs.

    Raises DecisionError with code DEV_OFF_LOOPBACK naming the first that isn't on loopback.
    """
    for url in (*upstreams, store):
        if not _on_loopback(url):
            where = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2], query="").geturl()
            message = f"--dev is refused: {where} is not on loopback"
            raise DecisionError(message, code="DEV_OFF_LOOPBACK", next_step="use an identity provider, or 127.0.0.1")


def _on_loopback(url: str) -> bool:
    """Every host of the URL (libpq allows several, and hosts in the query) is loopback or a unix socket."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] == "sqlite":
        return True
    query = parse_qs(parts.query, keep_blank_values=True)
    if "service" in query or "servicefile" in query:  # libpq would take the host from a file
        return False
    hosts = [_host(item) for item in parts.netloc.rpartition("@")[2].split(",")]
    for name in ("host", "hostaddr"):
        for value in query.get(name, []):
            hosts += value.split(",")
    named = [unquote(host) for host in hosts if host]
    return bool(named) and all(host.startswith(("/", "@")) or is_loopback(host) for host in named)


def _host(item: str) -> str:
    return item[1:].partition("]")[0] if item.startswith("[") else item.partition(":")[0]


def _private_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DecisionError(f"{folder} is not a folder of this user", code="DEV_ISSUER", next_step="remove it")
    folder.chmod(0o700)


def _bind(listener: socket.socket, path: Path) -> None:
    """A path too long for a socket address (unix(7): 107 bytes) is bound through its folder's descriptor."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS or not hasattr(os, "O_PATH"):
        listener.bind(str(path))
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    connection = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux: the folder's mode is the guard
        return os.getuid()
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", raw)[1]
    return uid
