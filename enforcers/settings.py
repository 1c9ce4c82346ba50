"""The settings document of an enforcer, read strictly into frozen values.

It arrives once, over an inherited descriptor, from the supervisor that checked the person's file. A key that is
unknown, missing or of the wrong type means that the two do not understand each other: the process must not start.
The document carries a secret, so no message here ever shows a value, only the path of a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import orjson

from enforcers.core.errors import SettingsError
from enforcers.secret import Secret

MAX_DOCUMENT = 4 << 20  # bytes
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """host without brackets; port 0 means a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EnvSource:
    """at, here and below: file and line of the person's configuration, for messages; "" where it isn't known."""

    name: str
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class FileSource:
    """on_disk: the configuration names it as one that may lie on a disk; else it must be in memory."""

    path: str
    on_disk: bool = False
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ExecSource:
    """variables: the names of those it gets besides PATH and HOME."""

    argv: tuple[str, ...]
    variables: tuple[str, ...] = ()
    at: str = field(default="", compare=False)


Source = EnvSource | FileSource | ExecSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The target account of one role: its user name, and where its password comes from (None: it has none);
    certificate (a PEM file) and key where it shows one in TLS, both or neither."""

    user: str
    password: Source | None
    certificate: str | None = None
    key: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    name: str
    environment: str
    upstream: str  # a URL without a password
    credentials: Mapping[str, Account]  # by role; "default" for every other


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a listener shows its clients: the file of its certificate and chain, the source of its key (both PEM).

    required: who asks for a session without TLS is refused.
    """

    certificate: str
    key: Source
    required: bool = True
    clients: str | None = (
        None  # a file of the authorities of clients' certificates, which are asked for then (RFC 8705)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionTls:
    """How the decision service is known, and what it is shown; files (PEM), read again when they change.

    ca: who signs its certificate. name: its SPIFFE ID or host name, exactly as its certificate has it. certificate and
    key: of this enforcer, both or neither; with them it is known by its certificate and sends no secret."""

    ca: str
    name: str
    certificate: str | None = None
    key: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    instance: str
    dev: bool
    enforcer_secret: str = field(repr=False)
    ca: bytes = field(repr=False)  # PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    run: Run
    decision: Address
    listen: Mapping[str, Address]  # by connection
    workers: int
    connections: Mapping[str, Connection]  # by name
    tls: Tls | None = None
    balancers: tuple[str, ...] = ()  # networks whose PROXY protocol v2 header is believed, and required
    max_connections: int = 500  # a worker's
    masking_key: Source | None = None  # of the hash masker
    variables: Mapping[str, Secret] = field(default_factory=dict, repr=False)  # those that sources name
    decision_tls: DecisionTls | None = None  # None: by the run's own authority
    oauth: str = ""  # where clients learn of the identity provider: the address of its OpenID configuration


def read_settings(document: bytes) -> Settings:
    """Raises SettingsError, which names the key and never shows a value."""
    if len(document) > MAX_DOCUMENT:
        raise SettingsError("the settings document is too large")
    try:
        loaded = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise SettingsError("the settings document is not JSON") from None
    optional = {"tls", "balancers", "max_connections", "masking", "oauth", "variables"}
    top = _Keys(loaded, "", {"run", "decision", "listen", "workers", "connections"}, optional)
    connections: dict[str, Connection] = {}
    for index, item in enumerate(_sequence(top["connections"], "connections")):
        connection = _connection(item, f"connections[{index}]")
        if connection.name in connections:
            raise SettingsError(f"connections[{index}].name: given twice")
        connections[connection.name] = connection
    listen = {
        name: _address(value, f"listen.{name}", any_port=True)
        for name, value in _mapping(top["listen"], "listen").items()
    }
    if not connections:
        raise SettingsError("connections: at least one is needed")
    if set(listen) != set(connections):
        raise SettingsError("listen: must name every connection and nothing else")
    decision = _Keys(top["decision"], "decision", {"grpc"}, {"tls"})
    return Settings(
        run=_run(top["run"]),
        decision=_address(decision["grpc"], "decision.grpc", any_port=False),
        listen=listen,
        workers=_integer(top["workers"], "workers", low=1, high=256),
        connections=connections,
        tls=_tls(top["tls"], "tls") if "tls" in top else None,
        balancers=tuple(
            _text(item, f"balancers[{index}]")
            for index, item in enumerate(_sequence(top["balancers"], "balancers") if "balancers" in top else ())
        ),
        max_connections=(
            _integer(top["max_connections"], "max_connections", low=1, high=100_000)
            if "max_connections" in top
            else 500
        ),
        decision_tls=_decision_tls(decision["tls"]) if "tls" in decision else None,
        oauth=_text(top["oauth"], "oauth") if "oauth" in top else "",
        masking_key=_masking_key(top["masking"]) if "masking" in top else None,
        variables=_variables(top["variables"]) if "variables" in top else {},
    )


class _Keys:
    """A JSON object with exactly these keys, of which some may be absent."""

    def __init__(self, value: object, path: str, keys: set[str], optional: AbstractSet[str] = frozenset()) -> None:
        self._values = _mapping(value, path or "the settings document")
        self._prefix = f"{path}." if path else ""
        for key in sorted(keys - set(self._values)):
            raise SettingsError(f"{self._prefix}{key}: missing")
        for key in sorted(set(self._values) - keys - optional):
            raise SettingsError(f"{self._prefix}{key}: unknown key")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> object:
        return self._values[key]


def _mapping(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: an object is needed")
    return value


def _sequence(value: object, path: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise SettingsError(f"{path}: a list is needed")
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingsError(f"{path}: a non-empty text is needed")
    return value


def _integer(value: object, path: str, *, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise SettingsError(f"{path}: an integer from {low} to {high} is needed")
    return value


def _name(value: object, path: str) -> str:
    text = _text(value, path)
    if not _NAME.match(text):
        raise SettingsError(f"{path}: not a name ([a-z0-9][a-z0-9._-]*)")
    return text


def _address(value: object, path: str, *, any_port: bool) -> Address:
    match = _ADDRESS.match(_text(value, path))
    if match is None:
        raise SettingsError(f"{path}: host:port is needed")
    port = int(match["port"])
    if port > 65535 or (port == 0 and not any_port):
        raise SettingsError(f"{path}: no such port")
    return Address(match["host"].strip("[]"), port)


def _run(value: object) -> Run:
    run = _Keys(value, "run", {"instance", "dev", "enforcer_secret", "tls"})
    dev = run["dev"]
    if not isinstance(dev, bool):
        raise SettingsError("run.dev: true or false is needed")
    secret = _text(run["enforcer_secret"], "run.enforcer_secret")
    if len(secret) < 32 or not secret.isascii() or not secret.isprintable():
        raise SettingsError("run.enforcer_secret: at least 32 printable ASCII characters are needed")
    ca = _text(_Keys(run["tls"], "run.tls", {"ca"})["ca"], "run.tls.ca")
    if "-----BEGIN CERTIFICATE-----" not in ca or "PRIVATE KEY" in ca:
        raise SettingsError("run.tls.ca: a PEM certificate is needed, and no key")
    return Run(instance=_text(run["instance"], "run.instance"), dev=dev, enforcer_secret=secret, ca=ca.encode())


def _connection(value: object, path: str) -> Connection:
    keys = _Keys(value, path, {"name", "environment", "upstream", "credentials"})
    accounts = _mapping(keys["credentials"], f"{path}.credentials")
    if not accounts:
        raise SettingsError(f"{path}.credentials: at least one role is needed")
    return Connection(
        name=_name(keys["name"], f"{path}.name"),
        environment=_text(keys["environment"], f"{path}.environment"),
        upstream=_upstream(keys["upstream"], f"{path}.upstream"),
        credentials={role: _account(item, f"{path}.credentials.{role}") for role, item in accounts.items()},
    )


def _upstream(value: object, path: str) -> str:
    text = _text(value, path)
    try:
        url: SplitResult = urlsplit(text)
        inline = url.password
        url.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise SettingsError(f"{path}: not a URL") from None
    if not url.scheme or not url.netloc:
        raise SettingsError(f"{path}: a URL is needed")
    if inline is not None or "password=" in url.query:
        raise SettingsError(f"{path}: a password may not stand in the URL; name its source under credentials")
    return text


def _account(value: object, path: str) -> Account:
    keys = _Keys(value, path, {"user"}, {"password", "certificate", "key"})
    if ("certificate" in keys) != ("key" in keys):
        raise SettingsError(f"{path}: certificate and key are needed together")
    return Account(
        user=_text(keys["user"], f"{path}.user"),
        password=_source(keys["password"], f"{path}.password") if "password" in keys else None,
        certificate=_text(keys["certificate"], f"{path}.certificate") if "certificate" in keys else None,
        key=_source(keys["key"], f"{path}.key") if "key" in keys else None,
    )


def _tls(value: object, path: str) -> Tls:
    keys = _Keys(value, path, {"certificate", "key", "required"}, {"clients"})
    required = keys["required"]
    if not isinstance(required, bool):
        raise SettingsError(f"{path}.required: true or false is needed")
    return Tls(
        certificate=_text(keys["certificate"], f"{path}.certificate"),
        key=_source(keys["key"], f"{path}.key"),
        required=required,
        clients=_text(keys["clients"], f"{path}.clients") if "clients" in keys else None,
    )


def _masking_key(value: object) -> Source:
    return _source(_Keys(value, "masking", {"key"})["key"], "masking.key")


def _decision_tls(value: object) -> DecisionTls:
    keys = _Keys(value, "decision.tls", {"ca", "name"}, {"certificate", "key"})
    if ("certificate" in keys) != ("key" in keys):
        raise SettingsError("decision.tls: certificate and key are needed together")
    return DecisionTls(
        ca=_text(keys["ca"], "decision.tls.ca"),
        name=_text(keys["name"], "decision.tls.name"),
        certificate=_text(keys["certificate"], "decision.tls.certificate") if "certificate" in keys else None,
        key=_source(keys["key"], "decision.tls.key") if "key" in keys else None,
    )


def _variables(value: object) -> Mapping[str, Secret]:
    given = _mapping(value, "variables")
    return {_variable(name, "variables"): Secret(_text(text, f"variables.{name}")) for name, text in given.items()}


def _variable(value: object, path: str) -> str:
    name = _text(value, path)
    if "=" in name:
        raise SettingsError(f"{path}: not a variable's name")
    return name


def _true(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{path}.on_disk: true or false is needed")
    return value


_MORE = {"env": frozenset[str](), "file": frozenset({"on_disk"}), "exec": frozenset({"environment"})}


def _source(value: object, path: str) -> Source:
    kinds = set(_MORE) & set(value) if isinstance(value, dict) else set()
    if not isinstance(value, dict) or len(kinds) != 1:
        raise SettingsError(f"{path}: one of env, file or exec is needed, never the secret itself")
    (kind,) = kinds
    keys = _Keys(value, path, {kind}, {"at", *_MORE[kind]})
    at = _text(keys["at"], f"{path}.at") if "at" in keys else ""
    if kind == "env":
        return EnvSource(_variable(keys["env"], f"{path}.env"), at)
    if kind == "file":
        return FileSource(_text(keys["file"], f"{path}.file"), "on_disk" in keys and _true(keys["on_disk"], path), at)
    argv = tuple(_text(item, f"{path}.exec[{n}]") for n, item in enumerate(_sequence(keys["exec"], f"{path}.exec")))
    if not argv:
        raise SettingsError(f"{path}.exec: a program is needed")
    names = _sequence(keys["environment"], f"{path}.environment") if "environment" in keys else ()
    return ExecSource(argv, tuple(_variable(name, f"{path}.environment") for name in names), at)
