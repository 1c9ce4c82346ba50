"""The settings document (docs/architecture.md, "Processes"), checked once and whole. Holds secrets: never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from decision.errors import BadRequestError

MAX_BYTES: Final = 4 << 20


class SettingsError(BadRequestError):
    """The document is wrong; the service does not start. Names keys, never values."""

    code = "SETTINGS"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Tls(_Part):
    ca: str
    cert: str
    key: SecretStr


class Run(_Part):
    instance: Annotated[str, Field(min_length=1, max_length=256)]
    dev: bool
    state_dir: str
    enforcer_secret: SecretStr
    tls: Tls

    @field_validator("enforcer_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32 or not value.get_secret_value().isascii():
            raise ValueError("a secret has at least 32 ASCII characters")
        return value


class Identity(_Part):
    """nonces: whether a DPoP proof needs one of ours. bind_address: whether a one-time password is for the address
    that asked for it; not where a balancer hides it from this service or from the gateway."""

    issuers: list[dict[str, object]]
    nonces: bool = True
    bind_address: bool = True


class Public(_Part):
    """The addresses clients know the listeners by (`https://host:port`), which proofs of possession name; besides
    those they listen on."""

    grpc: list[str] = Field(default_factory=list)
    http: list[str] = Field(default_factory=list)


class Ssh(_Part):
    """key: of the authority that signs SSH certificates, OpenSSH or PEM."""

    key: SecretStr


class TokenExchange(_Part):
    """key: any text of at least 32 characters, from which the key that signs exchanged tokens is derived. The same for
    each replica, and for each start: what was signed then counts on. Enforcers must not know it."""

    key: SecretStr

    @field_validator("key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32:
            raise ValueError("decision.exchange.key has at least 32 characters")
        return value


class ListenerTls(_Part):
    """Files (PEM), read again when they change. clients: the authorities of callers' certificates. enforcers: which of
    those certificates is which enforcer (YAML); with `clients`, and for the listener of enforcers alone."""

    certificate: str
    key: str
    clients: str | None = None
    enforcers: str | None = None


class Mutual(_Part):
    """The listener that asks everybody for a certificate: where enforcers call, known by theirs instead of a secret."""

    listen: str
    tls: ListenerTls

    @field_validator("tls")
    @classmethod
    def _whole(cls, value: ListenerTls) -> ListenerTls:
        if value.clients is None or value.enforcers is None:
            raise ValueError("the mutual listener needs `clients` and `enforcers`")
        return value


class Policy(_Part):
    rego: str | None
    data: str | None


class Connection(_Part):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    kind: Literal["postgres", "kubernetes", "ssh"]
    environment: str
    classification: str | None


class Audit(_Part):
    dir: str


class Opa(_Part):
    path: str | None
    url: str | None
    token: SecretStr | None


class WebTls(_Part):
    """Files (PEM), read again when they change."""

    certificate: str
    key: str


class StepUp(_Part):
    """Which verdicts need a fresh log-in, and how fresh and strong. environments: of the connections; "*" for all."""

    environments: list[str]
    max_age_s: Annotated[int, Field(ge=30, le=86_400)] = 900
    acr: list[str] = Field(default_factory=list)


class Web(_Part):
    """The pages on which people review. origin: what browsers know them by; None: what is listened on. issuer: one of
    identity.issuers, whose role table counts for its ID tokens too."""

    listen: str
    origin: str | None = None
    tls: WebTls | None = None
    issuer: str
    client: Annotated[str, Field(min_length=1)]
    secret: SecretStr | None = None
    scopes: list[str] = Field(default_factory=lambda: ["openid"])
    step_up: StepUp | None = None
    idle_s: Annotated[int, Field(ge=60, le=86_400)] = 1800
    absolute_s: Annotated[int, Field(ge=300, le=86_400)] = 28_800

    @field_validator("origin")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("https://", "http://")) or "/" in value.partition("://")[2]):
            raise ValueError("an origin is https://host or https://host:port")
        return value


class Settings(_Part):
    run: Run
    grpc: str
    http: str
    tls: ListenerTls | None = None  # of both; None: the run's own for gRPC, none for HTTP
    mutual: Mutual | None = None
    identity: Identity
    public: Public = Public()
    ssh: Ssh | None = None
    exchange: TokenExchange | None = None  # None: what was exchanged ends with the run
    configuration: str | None = None  # the file all this was read from: who owns it made what came with a start
    web: Web | None = None
    people: str
    policy: Policy
    connections: list[Connection]
    store: str
    store_password: SecretStr | None = None
    audit: Audit
    opa: Opa

    @field_validator("grpc", "http")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("an address is host:port")
        return value

    @field_validator("connections")
    @classmethod
    def _distinct(cls, value: list[Connection]) -> list[Connection]:
        if len({connection.name for connection in value}) != len(value):
            raise ValueError("two connections have one name")
        return value

    @property
    def exchange_secret(self) -> bytes:
        """That only this service knows."""
        found = self.run.tls.key if self.exchange is None else self.exchange.key
        return found.get_secret_value().encode()

    @property
    def audit_dir(self) -> Path:
        return Path(self.audit.dir)


def read(data: bytes) -> tuple[Settings, dict[str, object]]:
    """The checked settings, and the document itself for the parts that read their own. Raises SettingsError."""
    try:
        document = json.loads(data)
    except ValueError:
        raise SettingsError("the settings document is not JSON") from None
    if not isinstance(document, dict):
        raise SettingsError("the settings document is not an object")
    try:
        return Settings.model_validate(document), document
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc'])) or 'document'}: {item['msg']}" for item in error.errors())
        raise SettingsError("; ".join(problems)) from None


def read_descriptor(descriptor: int) -> tuple[Settings, dict[str, object]]:
    """Everything from an inherited descriptor, which is closed then. Raises SettingsError."""
    try:
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"the settings can't be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise SettingsError(f"the settings document is larger than {MAX_BYTES} bytes")
    return read(data)
