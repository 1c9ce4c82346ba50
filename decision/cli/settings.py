"""The shape of twokey.yaml, people.yaml and classification files (design, section 3). Types only; no files are read."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

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
    """certificate: a PEM file shown to the target in TLS, and its key's source; both or neither."""

    user: str = Field(min_length=1)
    password: Annotated[Source, BeforeValidator(_never_inline)] | None = None
    certificate: str | None = Field(default=None, min_length=1)
    key: Annotated[Source, BeforeValidator(_never_inline)] | None = None

    @model_validator(mode="after")
    def _pair(self) -> Account:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("has one of `certificate` and `key`; a certificate needs its key, and the other way round")
        return self


# libpq's options of a connection string, as far as they are this one's; None: any text.
_UPSTREAM_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "sslmode": ("disable", "require", "verify-ca", "verify-full"),
    "sslrootcert": None,
    "sslnegotiation": ("postgres", "direct"),
    "channel_binding": ("disable", "prefer", "require"),
    "require_auth": None,
}
_METHODS = {"none", "password", "md5", "scram-sha-256"}


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
    if url.fragment:
        raise ValueError("has something after '#'; remove it")
    if not url.hostname:
        raise ValueError("names no host; use 127.0.0.1 for this machine")
    _check_options(url.query, local=is_loopback(url.hostname))
    return value


def _check_options(query: str, *, local: bool) -> None:
    options: dict[str, str] = {}
    for name, option in parse_qsl(query, keep_blank_values=True):
        if name not in _UPSTREAM_OPTIONS:
            # `host=…`, above all, would point elsewhere than where the address says, past the check for loopback
            raise ValueError(f"has an option that is not its own; only {', '.join(_UPSTREAM_OPTIONS)} belong here")
        known = _UPSTREAM_OPTIONS[name]
        if name in options or not option or (known is not None and option not in known):
            raise ValueError(f"{name} must be given once, as {' or '.join(known or ('some text',))}")
        options[name] = option
    unknown = {item.strip() for item in options.get("require_auth", "none").split(",")} - _METHODS
    if unknown:
        raise ValueError(f"require_auth names what is none of {', '.join(sorted(_METHODS))}; correct it")
    encrypted = options.get("sslmode", "disable" if local else "verify-full") != "disable"
    if not encrypted and (options.get("sslnegotiation") == "direct" or options.get("channel_binding") == "require"):
        raise ValueError("asks for TLS's parts without TLS; add sslmode=verify-full")


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

    @property
    def options(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.upstream).query))

    @property
    def sslmode(self) -> str:
        return self.options.get("sslmode", "disable" if is_loopback(self.host) else "verify-full")

    @property
    def root_certificate(self) -> str | None:
        """The file of `sslrootcert`; None for the machine's own roots."""
        found = self.options.get("sslrootcert", "system")
        return None if found == "system" else found


class RoleClaim(Strict):
    claim: str = Field(min_length=1)
    map: dict[str, str] = Field(default_factory=dict)


class Issuer(Strict):
    """platform: of profile `workload`. claims: what each token must say besides. scopes: `required` refuses tokens
    without one of ours. single_audience: a token for others too is refused. private_network: its address may be one."""

    issuer: str
    audience: str = Field(min_length=1)
    profile: Literal["rfc9068", "legacy-jwt", "workload"] = "rfc9068"
    platform: Literal["github", "gitlab", "kubernetes"] | None = None
    roles: RoleClaim
    claims: dict[str, str] = Field(default_factory=dict)
    scopes: Literal["optional", "required"] = "optional"
    single_audience: bool = False
    private_network: bool = False

    @model_validator(mode="after")
    def _of_a_platform(self) -> Issuer:
        if (self.profile == "workload") != (self.platform is not None):
            raise ValueError("`platform` (github, gitlab, kubernetes) goes with profile: workload; write both or none")
        return self

    @model_validator(mode="after")
    def _secure(self) -> Issuer:
        if self.issuer == "urn:twokey:dev":
            raise ValueError("urn:twokey:dev is the dev issuer; start with --dev instead")
        url = urlsplit(self.issuer)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise ValueError("issuer must be an https URL; correct it")
        return self


class Identity(Strict):
    """nonces: of DPoP proofs. bind_address: of one-time passwords; false where a balancer hides clients' addresses."""

    issuers: list[Issuer] = Field(default_factory=list)
    nonces: bool = True
    bind_address: bool = True


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


class ListenerTls(Strict):
    """What a listener shows its clients (PEM). `required`: who comes without TLS is refused."""

    certificate: str = Field(min_length=1)
    key: Annotated[Source, BeforeValidator(_never_inline)]
    required: bool = True


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("must be a network like 10.0.0.0/24, or an address") from None
    return value


class PostgresEnforcer(Strict):
    """balancers: whose PROXY protocol v2 header is believed, and required. max_connections: of each worker."""

    tls: ListenerTls | None = None  # before `listen`, whose check reads it
    listen: str = "127.0.0.1:0"
    workers: int = Field(default=1, ge=1, le=64)
    balancers: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)
    max_connections: int = Field(default=500, ge=1, le=100_000)

    @field_validator("listen")
    @classmethod
    def _encrypted(cls, value: str, info: ValidationInfo) -> str:
        host, _ = split_address(value)
        tls = info.data.get("tls")
        if host.startswith("/"):
            raise ValueError("must be host:port; for example 127.0.0.1:6432")
        if not is_loopback(host) and (tls is None or not tls.required):
            raise ValueError("listens beyond loopback without TLS; add `tls`, or use 127.0.0.1")
        return value


class Enforcers(Strict):
    postgres: PostgresEnforcer = PostgresEnforcer()


def _store(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        parts = urlsplit(value)
        if parts.password is not None or "password" in dict(parse_qsl(parts.query)):
            raise ValueError("holds a password; name a password file: postgresql://user@host/twokey?passfile=/path")
        if not parts.path.strip("/"):
            raise ValueError("names no database; write postgresql://user@host/twokey?passfile=/path")
        return value
    if not value.startswith("sqlite:///") or len(value) < len("sqlite:///x") or "?" in value:
        raise ValueError("must be a URL like sqlite:///state/twokey.db or postgresql://user@host/twokey")
    return value


class Audit(Strict):
    dir: str = Field(default="state/audit", min_length=1)


class Masking(Strict):
    """key: of the masker `hash`; at least 16 bytes."""

    key: Annotated[Source, BeforeValidator(_never_inline)]


class Config(Strict):
    identity: Identity = Identity()
    people: str
    policy: Policy = Policy()
    connections: list[Connection] = Field(min_length=1)
    decision: DecisionListen = DecisionListen()
    enforcers: Enforcers = Enforcers()
    store: Annotated[str, AfterValidator(_store)] = "sqlite:///state/twokey.db"
    audit: Audit = Audit()
    masking: Masking | None = None


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
}
