"""The shape of `decision` and `enforcers` in twokey.yaml: who listens where, behind which certificates."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from decision.cli.schema import (
    HOST,
    SPIFFE_ID,
    Address,
    Plaintext,
    Source,
    Strict,
    check_address,
    in_the_clear,
    is_loopback,
    never_inline,
    split_address,
)


def _origin(value: str, schemes: tuple[str, ...]) -> str:
    try:
        url = urlsplit(value)
        good = url.scheme in schemes and bool(url.hostname) and (url.port or 1) > 0 and url.username is None
    except ValueError:
        good = False
    if not good or url.path or url.query or url.fragment or value.endswith(("?", "#")) or not value.isascii():
        raise ValueError(f"must be an origin like {schemes[0]}://twokey.example.com:7443, without a path")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError("sends tokens in the clear beyond loopback; write https")
    return value


def _grpc_origin(value: str) -> str:
    return _origin(value, ("https",))


def http_origin(value: str) -> str:
    """`https://host` or `https://host:port`; http on loopback alone. Raises ValueError."""
    return _origin(value, ("https", "http"))


class Public(Strict):
    """The origins that clients know the listeners by, where these are others than they listen on (behind a balancer):
    what the `htu` of a DPoP proof is compared with."""

    grpc: list[Annotated[str, AfterValidator(_grpc_origin)]] = Field(default_factory=list, max_length=16)
    http: list[Annotated[str, AfterValidator(http_origin)]] = Field(default_factory=list, max_length=16)


class SshAuthority(Strict):
    """key: the private key (OpenSSH or PEM, no passphrase) that signs the certificates of `twokey login --ssh`."""

    key: Annotated[Source, BeforeValidator(never_inline)]


class TokenExchange(Strict):
    """key: at least 32 characters by chance, from which the key that signs exchanged tokens is derived: the same on
    every replica and after every start. Absent: what was exchanged ends with the run."""

    key: Annotated[Source, BeforeValidator(never_inline)]


def _in_a_file(value: Source) -> Source:
    if value.file is None:
        raise ValueError("must be a file, which is read again when it changes; use {file: PATH}")
    return value


Key = Annotated[Source, BeforeValidator(never_inline), AfterValidator(_in_a_file)]


class DecisionTls(Strict):
    """Of gRPC and HTTP (PEM). ca: who signed the certificate, for the commands and gateways here; absent: itself.
    clients: whose certificates HTTP asks for, so that tokens bound to one are taken (RFC 8705)."""

    certificate: str = Field(min_length=1)
    key: Key
    ca: str | None = Field(default=None, min_length=1)
    clients: str | None = Field(default=None, min_length=1)


class Mutual(Strict):
    """Where enforcers call, known by their certificates; and who brings a token that is bound to one (RFC 8705).
    clients: who signs those (PEM; a SPIFFE trust domain's bundle). enforcers: which is whose (YAML)."""

    listen: Address
    certificate: str = Field(min_length=1)
    key: Key
    clients: str = Field(min_length=1)
    enforcers: str = Field(min_length=1)


class DecisionListen(Strict):
    tls: DecisionTls | None = None  # before the addresses, whose checks read both
    plaintext: Plaintext | None = None  # of HTTP; gRPC has TLS always
    grpc: Address = "127.0.0.1:0"
    http: Address = "127.0.0.1:0"
    mutual: Mutual | None = None
    public: Public = Public()
    ssh: SshAuthority | None = None
    exchange: TokenExchange | None = None

    @field_validator("grpc")
    @classmethod
    def _certified(cls, value: str, info: ValidationInfo) -> str:
        host, _ = split_address(value)
        if not is_loopback(host) and info.data.get("tls") is None:
            raise ValueError("listens beyond loopback without TLS of its own; add `tls`, or use 127.0.0.1")
        return value

    @field_validator("http")
    @classmethod
    def _encrypted(cls, value: str, info: ValidationInfo) -> str:
        return value if info.data.get("tls") is not None else in_the_clear(value, info.data.get("plaintext"))


class ListenerTls(Strict):
    """What a listener shows its clients (PEM). `required`: who comes without TLS is refused. clients: whose
    certificates are asked for, so that tokens bound to one are taken (RFC 8705)."""

    certificate: str = Field(min_length=1)
    key: Annotated[Source, BeforeValidator(never_inline)]
    required: bool = True
    clients: str | None = Field(default=None, min_length=1)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("must be a network like 10.0.0.0/24, or an address") from None
    return value


class PostgresEnforcer(Strict):
    """balancers: whose PROXY protocol v2 header is believed, and required. max_connections: of each worker."""

    tls: ListenerTls | None = None  # before `listen`, whose check reads both
    plaintext: Plaintext | None = None
    listen: str = "127.0.0.1:0"
    workers: int = Field(default=1, ge=1, le=64)
    balancers: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)
    max_connections: int = Field(default=500, ge=1, le=100_000)

    @field_validator("listen")
    @classmethod
    def _encrypted(cls, value: str, info: ValidationInfo) -> str:
        check_address(value)
        tls = info.data.get("tls")
        return value if tls is not None and tls.required else in_the_clear(value, info.data.get("plaintext"))


def _service_name(value: str) -> str:
    if not SPIFFE_ID.fullmatch(value) and not HOST.fullmatch(value):
        raise ValueError("must be a SPIFFE ID or a host's name in lower case, exactly as in the service's certificate")
    return value


class DecisionPeer(Strict):
    """How gateways reach, and know, a decision service with certificates of the operator's own. address: where it runs
    elsewhere. ca: who signs its certificate (PEM; a SPIFFE trust domain's bundle). certificate, key: the gateways'."""

    address: Address | None = None
    ca: str = Field(min_length=1)
    name: Annotated[str, AfterValidator(_service_name)]
    certificate: str | None = Field(default=None, min_length=1)
    key: Annotated[Source, BeforeValidator(never_inline)] | None = None

    @model_validator(mode="after")
    def _pair(self) -> DecisionPeer:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("has one of `certificate` and `key`; a certificate needs its key, and the other way round")
        return self


class Enforcers(Strict):
    decision: DecisionPeer | None = None
    postgres: PostgresEnforcer = PostgresEnforcer()
