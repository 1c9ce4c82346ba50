"""Where the token of `twokey login` is kept: a file of one's own for each service, and used there alone.

A token is only ever sent to the service that it was got for (the configuration, by its path, or --server): a
configuration that came with somebody's repository gets none of it. 0600 in a 0700 folder, below XDG_STATE_HOME.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from decision.cli import oauth
from decision.cli.dpop import Signer
from decision.cli.errors import CliError
from decision.cli.oauth import Client, Tokens

EARLY_S: Final = 30  # a token that ends sooner is renewed first
_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """key: the private key that the token is bound to, None where it is bound to none."""

    place: str
    client: Client
    tokens: Tokens
    key: Signer | None = field(repr=False)


def place_of(config_path: Path, server: str | None) -> str:
    """What a log-in is for."""
    return f"server {server}" if server is not None else f"config {os.path.realpath(config_path)}"


def folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME", "~")).expanduser() / ".local" / "state"
    return root / "twokey" / "logins"


def write(login: Login, environ: Mapping[str, str]) -> Path:
    """All at once. Raises CliError."""
    path = _path(login.place, environ)
    document = {
        "place": login.place,
        "issuer": login.client.issuer,
        "client": login.client.client,
        "scopes": list(login.client.scopes),
        "resource": login.client.resource,
        "access": login.tokens.access,
        "refresh": login.tokens.refresh,
        "expires": login.tokens.expires,
        "key": login.key.key.as_dict(private=True) if login.key is not None else None,
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.parent.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise CliError(f"others may look into {path.parent}", next_step=f"chmod 700 {path.parent}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        draft.replace(path)
    except OSError as error:
        raise CliError(f"the log-in can't be kept in {path.parent}: {error.strerror}") from None
    return path


def read(place: str, environ: Mapping[str, str]) -> Login | None:
    """None where there is none. Raises CliError: others may read the file, or it is damaged."""
    path = _path(place, environ)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CliError(f"{path} can't be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise CliError(f"others may read or write {path}", next_step="`twokey logout`, and log in again")
        data = file.read(_MAX)
    try:
        return _login(json.loads(data), place)
    except (ValueError, KeyError, TypeError, JoseError):
        raise CliError(f"{path} is damaged", next_step="`twokey logout`, and log in again") from None


def forget(place: str, environ: Mapping[str, str]) -> bool:
    """Whether there was one. Raises CliError."""
    path = _path(place, environ)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CliError(f"{path} can't be removed: {error.strerror}") from None
    return True


def current(place: str, environ: Mapping[str, str]) -> Login:
    """The log-in, its token renewed where it is about to end. Raises CliError: there is none, or it has ended."""
    login = _present(place, environ)
    if not _ending(login):
        return login
    with _alone(place, environ):  # a refresh token may be good for one use
        login = _present(place, environ)
        if not _ending(login):
            return login
        if not login.tokens.refresh:
            raise CliError("your log-in has ended", next_step="`twokey login`")
        with oauth.connected() as http:
            provider = oauth.discover(http, login.client.issuer)
            renewed = oauth.OAuth(http, login.client, provider, login.key).refresh(login.tokens.refresh)
        login = Login(place=place, client=login.client, tokens=renewed, key=login.key)
        write(login, environ)
        return login


def _present(place: str, environ: Mapping[str, str]) -> Login:
    login = read(place, environ)
    if login is None:
        raise CliError(
            "no token", next_step="`twokey login`, or name a file with --token-file FILE (- for standard input)"
        )
    return login


def _ending(login: Login) -> bool:
    return bool(login.tokens.expires) and time.time() > login.tokens.expires - EARLY_S


@contextmanager
def _alone(place: str, environ: Mapping[str, str]) -> Iterator[None]:
    path = _path(place, environ).with_suffix(".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _path(place: str, environ: Mapping[str, str]) -> Path:
    return folder(environ) / f"{sha256(place.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"


def _login(said: Mapping[str, object], place: str) -> Login:
    if said["place"] != place:
        raise ValueError
    key, expires = said["key"], said["expires"]
    if not isinstance(expires, int):
        raise TypeError
    scopes = said["scopes"]
    if not isinstance(scopes, list):
        raise TypeError
    signer = None
    if isinstance(key, dict):
        signer = Signer(ECKey.import_key(key), "ES256")
    return Login(
        place=place,
        client=Client(
            issuer=_text(said["issuer"]),
            client=_text(said["client"]),
            scopes=tuple(_text(one) for one in scopes),
            resource=_text(said["resource"]),
        ),
        tokens=Tokens(
            access=_text(said["access"]), refresh=_text(said["refresh"]), expires=expires, bound=signer is not None
        ),
        key=signer,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
