"""What the shapes of the configuration's parts are made of: names, addresses, sources of secrets. Types only."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)+")
HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What processes of ours may inherit as it is: none of them is a secret's place.
SYSTEM = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "TWOKEY_PURE", "TWOKEY_CACHE"})


class Strict(BaseModel):
    """Unknown keys are errors, types are not coerced, and nothing changes after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be lower-case letters, digits, '.', '_' and '-'; start with a letter or digit")
    return value


Name = Annotated[str, AfterValidator(_name)]


def split_address(value: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be host:port; for example 127.0.0.1:6432")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """A loopback address, `localhost`, or a directory of Unix sockets. Names are not resolved: DNS may lie later."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """An address of a private network (RFC 1918, RFC 4193, link-local). No name is: DNS may lie later; no wildcard:
    it listens on whatever address the machine gets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified


def check_address(value: str) -> str:
    host, _ = split_address(value)
    if host.startswith("/"):
        raise ValueError("must be host:port; for example 127.0.0.1:7443")
    return value


Address = Annotated[str, AfterValidator(check_address)]
# What allows a listener in the clear beyond loopback, written beside it.
Plaintext = Literal["allow-on-private-network"]


def in_the_clear(value: str, plaintext: object) -> str:
    """An address that is listened on without TLS. Raises ValueError: it is beyond loopback, and not named as such."""
    host, _ = split_address(value)
    if is_loopback(host):
        return value
    if plaintext is None:
        raise ValueError(
            "listens beyond loopback without TLS; add `tls`, use 127.0.0.1, or write "
            "`plaintext: allow-on-private-network` beside it"
        )
    if not is_private(host):
        raise ValueError(
            "listens without TLS on what is no address of a private network; name one, as 10.0.0.5, or add `tls`"
        )
    return value


class Source(Strict):
    """Where a secret comes from. Exactly one of the three; never the secret itself.

    on_disk: of a target credential's file, which else must lie on a memory file system. environment: the names of the
    variables that a program gets besides PATH and HOME.
    """

    env: str | None = None
    file: str | None = None
    exec: list[str] | None = None
    on_disk: bool = False
    environment: list[str] = Field(default_factory=list, max_length=64)

    @model_validator(mode="after")
    def _one(self) -> Source:
        given = [source for source in (self.env, self.file, self.exec) if source is not None]
        if len(given) != 1 or not given[0]:
            raise ValueError(
                "names not exactly one source; use {env: NAME}, {file: PATH} or {exec: [PROGRAM, ARGUMENT]}"
            )
        if self.env is not None and not VARIABLE.fullmatch(self.env):
            raise ValueError("is not the name of an environment variable; never write the secret itself here")
        if self.env in SYSTEM:
            raise ValueError(f"names {self.env}, which is the system's own; give the secret a variable of its own")
        return self

    @model_validator(mode="after")
    def _belonging(self) -> Source:
        if self.on_disk and self.file is None:
            raise ValueError("has `on_disk`, which belongs beside `file`; remove it")
        if self.environment and self.exec is None:
            raise ValueError("has `environment`, which belongs beside `exec`; remove it")
        if not all(VARIABLE.fullmatch(name) for name in self.environment):
            raise ValueError("has an `environment` of more than names; write [VAULT_ADDR, VAULT_TOKEN], values never")
        return self


def never_inline(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic turns a ValueError into a fault of the key, a TypeError into a crash
            "secrets are never written inline; use {env: NAME}, {file: PATH} or {exec: [PROGRAM, ARGUMENT]}"
        )
    return value
