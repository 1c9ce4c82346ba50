"""The shape of twokey.yaml, people.yaml and classification files (design, section 3). Types only; no files are read."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from decision.cli.listening import DecisionListen, Enforcers
from decision.cli.schema import Name, Source, Strict, is_loopback, never_inline
from decision.cli.web import Web


class Account(Strict):
    """certificate: a PEM file shown to the target in TLS, and its key's source; both or neither."""

    user: str = Field(min_length=1)
    password: Annotated[Source, BeforeValidator(never_inline)] | None = None
    certificate: str | None = Field(default=None, min_length=1)
    key: Annotated[Source, BeforeValidator(never_inline)] | None = None

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


def _ssh_upstream(value: str) -> str:
    try:
        url = urlsplit(value)
        bad = url.scheme != "ssh" or not url.hostname or (url.port or 22) < 1
    except ValueError:
        bad = True
    if bad or url.username or url.password or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("must be a URL like ssh://127.0.0.1:22")
    return value


class Connection(Strict):
    """kind ssh: certificates are issued for it (`twokey login --ssh`); its accounts belong to its gateway, to come."""

    name: Name
    kind: Literal["postgres", "ssh"]
    environment: Name
    upstream: str
    credentials: dict[str, Account] = Field(default_factory=dict)
    classification: str | None = None

    @field_validator("upstream")
    @classmethod
    def _of_its_kind(cls, value: str, info: ValidationInfo) -> str:
        return _ssh_upstream(value) if info.data.get("kind") == "ssh" else _upstream(value)

    @field_validator("credentials")
    @classmethod
    def _some(cls, value: dict[str, Account], info: ValidationInfo) -> dict[str, Account]:
        if not value and info.data.get("kind") != "ssh":
            raise ValueError("names no account; add one for each role, or `default`")
        return value

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


class Login(Strict):
    """How people log in by `twokey login`: as which public client of the issuer's, asking for what.

    resource: whose tokens to ask for (RFC 8707), where the issuer wants to be told; parameters: others it wants."""

    client: str = Field(min_length=1)
    scopes: list[str] = Field(default_factory=lambda: ["openid"])
    resource: str | None = Field(default=None, min_length=1)
    parameters: dict[str, str] = Field(default_factory=dict)


class Issuer(Strict):
    """login: of people at the command line. platform: of profile `workload`; trust_domain: of platform spiffe. claims:
    what each token must say besides. scopes: `required` refuses tokens without one of ours. single_audience: a token
    for others too is refused. private_network: its address may be one. max_lifetime_s: a token that lives longer, in
    seconds from its issue, is refused."""

    issuer: str
    audience: str = Field(min_length=1)
    profile: Literal["rfc9068", "legacy-jwt", "workload"] = "rfc9068"
    platform: Literal["github", "gitlab", "kubernetes", "spiffe"] | None = None
    trust_domain: str | None = Field(default=None, pattern=r"^[a-z0-9._-]{1,255}$")
    roles: RoleClaim
    login: Login | None = None
    claims: dict[str, str] = Field(default_factory=dict)
    scopes: Literal["optional", "required"] = "optional"
    single_audience: bool = False
    private_network: bool = False
    max_lifetime_s: int = Field(default=86_400, ge=60, le=31_536_000)

    @model_validator(mode="after")
    def _of_a_platform(self) -> Issuer:
        if (self.profile == "workload") != (self.platform is not None):
            raise ValueError("`platform` goes with profile: workload; write both or none")
        if (self.platform == "spiffe") != (self.trust_domain is not None):
            raise ValueError("`trust_domain` goes with platform: spiffe; write both or none")
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


def _opa_url(value: str) -> str:
    try:
        url = urlsplit(value)
        local = is_loopback(url.hostname or "")
    except ValueError:
        raise ValueError("must be a URL like https://opa.internal:8181") from None
    if url.scheme != "https" and not (url.scheme == "http" and local):
        raise ValueError("leaves this machine in the clear; use https")
    return value


class RemoteOpa(Strict):
    """A remote OPA instead of the managed one; the token is a secret."""

    url: Annotated[str, AfterValidator(_opa_url)]
    token: Annotated[Source, BeforeValidator(never_inline)] | None = None


class Policy(Strict):
    rego: str | None = None
    data: str | None = None
    opa: RemoteOpa | None = None


def _store(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        parts = urlsplit(value)
        if parts.password is not None or "password" in dict(parse_qsl(parts.query)):
            raise ValueError("holds a password; write {url: postgresql://user@host/twokey, password: {env: NAME}}")
        if not parts.path.strip("/"):
            raise ValueError("names no database; write postgresql://user@host/twokey?passfile=/path")
        return value
    if not value.startswith("sqlite:///") or len(value) < len("sqlite:///x") or "?" in value:
        raise ValueError("must be a URL like sqlite:///state/twokey.db or postgresql://user@host/twokey")
    return value


class Store(Strict):
    """password: of a PostgreSQL's account, where it needs one."""

    url: str
    password: Annotated[Source, BeforeValidator(never_inline)] | None = None

    @model_validator(mode="after")
    def _of_an_account(self) -> Store:
        if self.password is not None and self.url.startswith("sqlite:"):
            raise ValueError("has a password, which an SQLite file doesn't; remove it")
        return self


def _store_url(value: object) -> object:
    """A store is a URL, or a mapping with one."""
    url = value.get("url") if isinstance(value, dict) else value
    if isinstance(url, str):
        _store(url)
    return {"url": value} if isinstance(value, str) else value


class Audit(Strict):
    dir: str = Field(default="state/audit", min_length=1)


class Masking(Strict):
    """key: of the masker `hash`; at least 16 bytes."""

    key: Annotated[Source, BeforeValidator(never_inline)]


class Config(Strict):
    identity: Identity = Identity()
    people: str
    policy: Policy = Policy()
    connections: list[Connection] = Field(min_length=1)
    decision: DecisionListen = DecisionListen()
    enforcers: Enforcers = Enforcers()
    store: Annotated[Store, BeforeValidator(_store_url)] = Store(url="sqlite:///state/twokey.db")
    audit: Audit = Audit()
    masking: Masking | None = None
    web: Web | None = None

    @model_validator(mode="after")
    def _known_issuer(self) -> Config:
        if self.web is not None and self.web.login.issuer not in {one.issuer for one in self.identity.issuers}:
            raise ValueError("web.login.issuer is none of identity.issuers; add it there, with its table of roles")
        return self

    @property
    def postgres(self) -> list[Connection]:
        """The connections that the PostgreSQL gateway serves."""
        return [connection for connection in self.connections if connection.kind == "postgres"]


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
    "decision.login": "people log in at the web pages by `web.login`",
    "audit.key": "remove it",
}
