"""The shape of twokey.yaml, people.yaml and classification files (design, section 3). Types only; no files are read."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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


def _listen(value: str) -> str:
    host, _ = split_address(value)
    if not is_loopback(host) or host.startswith("/"):
        raise ValueError("listens beyond loopback, and TLS is not built yet; use 127.0.0.1")
    return value


Listen = Annotated[str, AfterValidator(_listen)]


class Source(Strict):
    """Where a secret comes from. Exactly one of the three; never the secret itself."""

    env: str | None = None
    file: str | None = None
    exec: list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        given = [source for source in (self.env, self.file, self.exec) if source is not None]
        if len(given) != 1 or not given[0]:
            raise ValueError(
                "names not exactly one source; use {env: NAME}, {file: PATH} or {exec: [PROGRAM, ARGUMENT]}"
            )
        if self.env is not None and not VARIABLE.fullmatch(self.env):
            raise ValueError("is not the name of an environment variable; never write the secret itself here")
        return self


def _never_inline(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic turns a ValueError into a fault of the key, a TypeError into a crash
            "secrets are never written inline; use {env: NAME}, {file: PATH} or {exec: [PROGRAM, ARGUMENT]}"
        )
    return value


class Account(Strict):
    user: str = Field(min_length=1)
    password: Annotated[Source, BeforeValidator(_never_inline)] | None = None


def _upstream(value: str) -> str:
    try:
        url = urlsplit(value)
        bad = url.scheme not in {"postgresql", "postgres"} or len(url.path) < 2 or (url.port or 5432) < 1
    except ValueError:
        bad = True
    if bad:
        raise ValueError("must be a URL like postgresql://127.0.0.1:5432/crm")
    if url.password is not None or url.username is not None:
        raise ValueError("holds a user or password; name the account under `credentials`")
    if url.fragment or url.query:
        # `?host=…` would point elsewhere than where the address says, past the check for loopback
        raise ValueError("has something after the database's name; remove what follows '?' or '#'")
    if not url.hostname:
        raise ValueError("names no host; use 127.0.0.1 for this machine")
    return value


class Connection(Strict):
    name: Name
    kind: Literal["postgres"]
    environment: Name
    upstream: Annotated[str, AfterValidator(_upstream)]
    credentials: dict[str, Account] = Field(min_length=1)
    classification: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.upstream).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.upstream).port or 5432

    @property
    def database(self) -> str:
        return urlsplit(self.upstream).path.removeprefix("/")


class RoleClaim(Strict):
    claim: str = Field(min_length=1)
    map: dict[str, str] = Field(default_factory=dict)


class Issuer(Strict):
    issuer: str
    audience: str = Field(min_length=1)
    profile: Literal["rfc9068"] = "rfc9068"
    roles: RoleClaim

    @model_validator(mode="after")
    def _secure(self) -> Issuer:
        if self.issuer == "urn:twokey:dev":
            raise ValueError("urn:twokey:dev is the dev issuer; start with --dev instead")
        url = urlsplit(self.issuer)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise ValueError("issuer must be an https URL; correct it")
        return self


class Identity(Strict):
    issuers: list[Issuer] = Field(default_factory=list)


class RemoteOpa(Strict):
    """A remote OPA instead of the managed one; the token is a secret."""

    url: str
    token: Annotated[Source, BeforeValidator(_never_inline)] | None = None


class Policy(Strict):
    rego: str | None = None
    data: str | None = None
    opa: RemoteOpa | None = None


class DecisionListen(Strict):
    grpc: Listen = "127.0.0.1:0"
    http: Listen = "127.0.0.1:0"


class PostgresEnforcer(Strict):
    listen: Listen = "127.0.0.1:0"
    workers: int = Field(default=1, ge=1, le=64)


class Enforcers(Strict):
    postgres: PostgresEnforcer = PostgresEnforcer()


def _store(value: str) -> str:
    if value.startswith(("postgresql:", "postgres:")):
        raise ValueError("a PostgreSQL store is not built yet; use sqlite:///state/twokey.db")
    if not value.startswith("sqlite:///") or len(value) < len("sqlite:///x") or "?" in value:
        raise ValueError("must be a URL like sqlite:///state/twokey.db")
    return value


class Audit(Strict):
    dir: str = Field(default="state/audit", min_length=1)


class Config(Strict):
    identity: Identity = Identity()
    people: str
    policy: Policy = Policy()
    connections: list[Connection] = Field(min_length=1)
    decision: DecisionListen = DecisionListen()
    enforcers: Enforcers = Enforcers()
    store: Annotated[str, AfterValidator(_store)] = "sqlite:///state/twokey.db"
    audit: Audit = Audit()


class PersonIdentity(Strict):
    iss: str = Field(min_length=1)
    sub: str = Field(min_length=1)


class Principal(Strict):
    name: Name
    identities: list[PersonIdentity] = Field(default_factory=list)
    groups: list[Name] = Field(default_factory=list)


class Agent(Strict):
    name: Name
    identities: list[PersonIdentity] = Field(default_factory=list)
    owner: Name


class People(Strict):
    principals: list[Principal] = Field(default_factory=list)
    agents: list[Agent] = Field(default_factory=list)


# Keys of design section 3 whose issues come later, and what to do until then.
LATER = {
    "notify": "reviewers use `twokey approvals watch` until then",
    "enforcers.ssh": "remove it",
    "enforcers.kubernetes": "remove it",
    "decision.tls": "keep every listener on loopback",
    "decision.login": "use `twokey up --dev`, or bring a token of your issuer",
    "audit.key": "remove it",
    "masking": "remove it",
}
