"""The whole configuration, read and checked before anything starts.

`load` checks what the files say; `check_run` checks what is true only on this machine and for this start
(secrets' sources, loopback under --dev). Both raise one ConfigError that lists every fault.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from decision.cli import classification, located, mounts, settings
from decision.cli.errors import ConfigError, Problem
from decision.cli.listening import DecisionPeer, DecisionTls, ListenerTls, Mutual
from decision.cli.located import Located
from decision.cli.schema import SYSTEM, Source, is_loopback
from decision.cli.settings import Agent, Config, People, Principal
from decision.cli.web import WebTls
from decision.cli.words import nearest


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration whose files were all read; every path below is absolute."""

    path: Path
    config: Config
    people: People
    document: Located

    @property
    def root(self) -> Path:
        return self.path.parent

    def absolute(self, path: str) -> Path:
        """A path of the configuration: relative ones start at the configuration file, not at the caller."""
        return Path(os.path.normpath(self.root / Path(path).expanduser()))

    @property
    def store(self) -> str:
        """Its URL, with an absolute path where it is a file."""
        prefix, store = "sqlite:///", self.config.store.url
        return f"{prefix}{self.absolute(store.removeprefix(prefix))}" if store.startswith(prefix) else store

    @property
    def state_dir(self) -> Path:
        """Where a file store is; of replicas that share a store each has its own, beside its configuration."""
        prefix = "sqlite:///"
        return Path(self.store.removeprefix(prefix)).parent if self.store.startswith(prefix) else self.absolute("state")

    @property
    def run_file(self) -> Path:
        return self.state_dir / "run.json"


def load(path: Path) -> Loaded:
    """Read and check twokey.yaml and every file it names. Raises ConfigError."""
    path = Path(os.path.abspath(path))
    shown = os.path.relpath(path)
    shown = shown if not shown.startswith("..") else str(path)
    document = located.load(path, shown)
    config = located.check(Config, document, later=settings.LATER)
    loaded = Loaded(path, config, People(), document)
    problems = _duplicates(document, config) + _files(loaded)
    people = People()
    try:
        people_document = located.load(loaded.absolute(config.people), _shown(loaded, config.people))
        people = located.check(People, people_document)
        problems += _people(people_document, people)
    except ConfigError as error:
        problems += error.problems
    for index, connection in enumerate(config.connections):
        if connection.classification is not None:
            problems += _classification(loaded, index, connection.classification)
    if problems:
        raise ConfigError(problems)
    return Loaded(path, config, people, document)


def check_run(
    loaded: Loaded, *, dev: bool, environ: Mapping[str, str], accounts: bool = True, service: bool = True
) -> None:
    """What must hold to start. Raises ConfigError: a secret's source is missing, --dev meets something not local.

    `accounts`: False where no target account is used, as in a decision service without gateways. `service`: False where
    gateways run without it, who need none of its secrets.
    """
    problems: list[Problem] = []
    document, config = loaded.document, loaded.config
    if service and not dev and not config.identity.issuers:
        problems.append(
            document.problem(("identity",), "no issuer: nobody could log in", "add one, or start with --dev to try it")
        )
    for index, connection in enumerate(config.connections):
        place = ("connections", index)
        if dev and not is_loopback(connection.host):
            problems.append(
                document.problem(
                    (*place, "upstream"),
                    f"--dev is refused: the target {connection.host} is not on loopback",
                    "use an issuer instead of --dev, or point at a local target",
                )
            )
        for role, account in connection.credentials.items() if accounts else ():
            where = (*place, "credentials", role)
            if account.password is not None:
                problems += _credential(loaded, (*where, "password"), account.password, environ)
            if account.key is not None and account.certificate is not None:
                problems += _credential(loaded, (*where, "key"), account.key, environ)
                problems += _file(loaded, (*where, "certificate"), account.certificate)
        if accounts and connection.root_certificate is not None:
            problems += _file(loaded, (*place, "upstream"), connection.root_certificate)
    problems += _tls_files(loaded, environ, accounts=accounts)
    if accounts:
        problems += _ways(document, config)
        if config.masking is not None:
            problems += _source(loaded, ("masking", "key"), config.masking.key, environ)
    if service:
        problems += _own_secrets(loaded, environ)
    if problems:
        raise ConfigError(problems)


def _own_secrets(loaded: Loaded, environ: Mapping[str, str]) -> list[Problem]:
    """The decision service's."""
    config, problems = loaded.config, list[Problem]()
    if config.store.password is not None:
        problems += _source(loaded, ("store", "password"), config.store.password, environ)
    if config.decision.ssh is not None:
        problems += _source(loaded, ("decision", "ssh", "key"), config.decision.ssh.key, environ)
    if config.decision.exchange is not None:
        problems += _source(loaded, ("decision", "exchange", "key"), config.decision.exchange.key, environ)
    if config.web is not None and config.web.login.secret is not None:
        problems += _source(loaded, ("web", "login", "secret"), config.web.login.secret, environ)
    opa = config.policy.opa
    if opa is not None and opa.token is not None:
        problems += _source(loaded, ("policy", "opa", "token"), opa.token, environ)
    return problems


def _tls_files(loaded: Loaded, environ: Mapping[str, str], *, accounts: bool) -> list[Problem]:
    problems: list[Problem] = []
    for place, tls, files in certificates_named(loaded.config, accounts=accounts):
        for key in files:
            path = getattr(tls, key)
            problems += _file(loaded, (*place, key), path) if path is not None else []
        if tls.key is not None:
            problems += _source(loaded, (*place, "key"), tls.key, environ)
    return problems


def certificates_named(
    config: Config, *, accounts: bool
) -> Iterator[tuple[tuple[str, ...], DecisionTls | Mutual | ListenerTls | DecisionPeer | WebTls, tuple[str, ...]]]:
    """Each place that names certificates, and which of its keys name files."""
    listening, peer, postgres = config.decision, config.enforcers.decision, config.enforcers.postgres.tls
    if listening.tls is not None:
        yield ("decision", "tls"), listening.tls, ("certificate", "ca", "clients")
    if listening.mutual is not None:
        yield ("decision", "mutual"), listening.mutual, ("certificate", "clients", "enforcers")
    if config.web is not None and config.web.tls is not None:
        yield ("web", "tls"), config.web.tls, ("certificate",)
    if accounts and peer is not None:
        yield ("enforcers", "decision"), peer, ("ca", "certificate")
    if accounts and postgres is not None:
        yield ("enforcers", "postgres", "tls"), postgres, ("certificate", "clients")


def _ways(document: Located, config: Config) -> list[Problem]:
    """Gateways and the service of one configuration must know each other in the same way."""
    peer, listening = config.enforcers.decision, config.decision
    if listening.mutual is not None and (peer is None or peer.certificate is None):
        fix = "add `enforcers.decision` with certificate and key, or remove `mutual`"
        return [document.problem(("decision", "mutual"), "gateways have no certificate to show there", fix)]
    if peer is None or peer.address is not None or listening.mutual is not None:
        return []
    if peer.certificate is not None:
        fix = "add `decision.mutual`, or remove certificate and key"
        return [document.problem(("enforcers", "decision", "certificate"), "nobody asks for it", fix)]
    if listening.tls is None:
        fix = "add `decision.mutual` or `decision.tls`, name the service's address, or remove this"
        return [document.problem(("enforcers", "decision"), "the service shows no certificate of yours", fix)]
    return []


def variables(config: Config) -> set[str]:
    """The environment variables that the gateways' secrets, and those who fetch them, are given by."""
    return {name for source in _gateway_sources(config) for name in _names(source)}


def secret_variables(config: Config) -> set[str]:
    """Those that this configuration names anywhere, but for what is the system's own."""
    return {name for source in _sources(config) for name in _names(source)} - SYSTEM


def _sources(value: object) -> Iterator[Source]:
    """Every one there is: found by looking, so that a key added later can't be forgotten here."""
    if isinstance(value, Source):
        yield value
        return
    parts: Iterable[object] = ()
    if isinstance(value, BaseModel):
        parts = (getattr(value, name) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        yield from _sources(part)


def _names(source: Source) -> set[str]:
    return {source.env} if source.env else set(source.environment)


def _gateway_sources(config: Config) -> list[Source]:
    accounts = [account for connection in config.connections for account in connection.credentials.values()]
    sources = [source for account in accounts for source in (account.password, account.key)]
    if config.enforcers.postgres.tls is not None:
        sources.append(config.enforcers.postgres.tls.key)
    if config.enforcers.decision is not None:
        sources.append(config.enforcers.decision.key)
    if config.masking is not None:
        sources.append(config.masking.key)
    return [source for source in sources if source is not None]


def _shown(loaded: Loaded, path: str) -> str:
    absolute = loaded.absolute(path)
    shown = os.path.relpath(absolute)
    return shown if not shown.startswith("..") else str(absolute)


def _duplicates(document: Located, config: Config) -> list[Problem]:
    problems: list[Problem] = []
    names: dict[str, int] = {}
    databases: dict[str, int] = {}
    for index, connection in enumerate(config.connections):
        first = names.setdefault(connection.name, index)
        if first != index:
            line = document.line(("connections", first, "name"))
            problems.append(
                document.problem(
                    ("connections", index, "name"),
                    f"{connection.name!r} is already the connection of line {line}",
                    "give each its own name",
                )
            )
        databases.setdefault(connection.name, index)
    issuers: set[str] = set()
    for index, issuer in enumerate(config.identity.issuers):
        if issuer.issuer in issuers:
            place = ("identity", "issuers", index, "issuer")
            problems.append(document.problem(place, "the same issuer twice", "merge the two"))
        issuers.add(issuer.issuer)
    return problems


def _files(loaded: Loaded) -> list[Problem]:
    """Folders the configuration names. (Files are read, and their absence is reported, elsewhere.)"""
    problems: list[Problem] = []
    policy = loaded.config.policy
    for key, value in (("rego", policy.rego), ("data", policy.data)):
        if value is not None and not loaded.absolute(value).is_dir():
            problems.append(
                loaded.document.problem(
                    ("policy", key), f"no such folder: {value}", "create it, or remove the key for the shipped policies"
                )
            )
    return problems


def _file(loaded: Loaded, place: tuple[str | int, ...], path: str) -> list[Problem]:
    if loaded.absolute(path).is_file():
        return []
    return [loaded.document.problem(place, f"no such file: {path}", "correct the path; it starts at this file")]


def _credential(
    loaded: Loaded, place: tuple[str | int, ...], source: Source, environ: Mapping[str, str]
) -> list[Problem]:
    """As _source; and a target credential's file lies in memory, or is named as one that doesn't."""
    problems = _source(loaded, place, source, environ)
    if problems or source.file is None or source.on_disk or mounts.lies_in_memory(loaded.absolute(source.file)):
        return problems
    message = f"the file {source.file} lies on a disk"
    fix = "put it on a tmpfs (/run, /dev/shm), or write `on_disk: true` beside it"
    return [loaded.document.problem((*place, "file"), message, fix)]


def _source(loaded: Loaded, place: tuple[str | int, ...], source: Source, environ: Mapping[str, str]) -> list[Problem]:
    document = loaded.document
    if source.env is not None and not environ.get(source.env):
        return [document.problem((*place, "env"), f"the variable {source.env} is not set", "export it before starting")]
    for name in sorted(_names(source)):
        if not _is_text(environ.get(name, "")):
            return [document.problem(place, f"the variable {name} is not UTF-8", "export it as text")]
    if source.file is not None and not loaded.absolute(source.file).is_file():
        return [document.problem((*place, "file"), f"no such file: {source.file}", "write it with mode 0600")]
    if source.exec is not None and "/" in source.exec[0] and not os.access(loaded.absolute(source.exec[0]), os.X_OK):
        message = f"not an executable file: {source.exec[0]}"
        return [document.problem((*place, "exec"), message, "correct the path, or chmod +x it")]
    return [
        document.problem((*place, "environment"), f"the variable {name} is not set", "export it before starting")
        for name in source.environment
        if name not in environ
    ]


def _is_text(value: str) -> bool:
    """Whether it can travel as JSON: the environment may hold any bytes, and Python keeps them as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _people(document: Located, people: People) -> list[Problem]:
    problems: list[Problem] = []
    names: dict[str, str] = {}
    identities: dict[tuple[str, str], str] = {}
    parties_of: list[tuple[str, Sequence[Principal | Agent]]] = [
        ("principals", people.principals),
        ("agents", people.agents),
    ]
    for kind, parties in parties_of:
        for index, party in enumerate(parties):
            if party.name in names:
                message = f"{party.name!r} is already one of the {names[party.name]}"
                problems.append(document.problem((kind, index, "name"), message, "names are unique over both lists"))
            names[party.name] = kind
            for at, identity in enumerate(party.identities):
                pair = (identity.iss, identity.sub)
                place = (kind, index, "identities", at)
                if identity.iss == "urn:twokey:dev":
                    problems.append(document.problem(place, "urn:twokey:dev is given by --dev itself", "remove it"))
                if pair in identities:
                    message = f"this identity is already {identities[pair]!r}'s"
                    problems.append(document.problem(place, message, "one identity belongs to one party"))
                identities[pair] = party.name
    owners = [principal.name for principal in people.principals]
    for index, agent in enumerate(people.agents):
        if agent.owner not in owners:
            near = nearest(agent.owner, owners)
            fix = f"did you mean {near!r}?" if near else "add the owner under principals"
            problems.append(document.problem(("agents", index, "owner"), f"no principal {agent.owner!r}", fix))
    return problems


def _classification(loaded: Loaded, index: int, path: str) -> list[Problem]:
    absolute = loaded.absolute(path)
    if not absolute.exists():
        place = ("connections", index, "classification")
        return [loaded.document.problem(place, f"no such file: {path}", "write it, or remove the key")]
    try:
        classification.load(absolute, _shown(loaded, path))
    except ConfigError as error:
        return error.problems
    return []
