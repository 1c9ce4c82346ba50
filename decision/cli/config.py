"""The whole configuration, read and checked before anything starts.

`load` checks what the files say; `check_run` checks what is true only on this machine and for this start
(secrets' sources, loopback under --dev). Both raise one ConfigError that lists every fault.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decision.cli import classification, located, settings
from decision.cli.errors import ConfigError, Problem
from decision.cli.located import Located
from decision.cli.settings import Agent, Config, People, Principal, Source
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
        prefix, store = "sqlite:///", self.config.store
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


def check_run(loaded: Loaded, *, dev: bool, environ: Mapping[str, str], accounts: bool = True) -> None:
    """What must hold to start. Raises ConfigError: a secret's source is missing, --dev meets something not local.

    `accounts`: False where no target account is used, as in a decision service without gateways.
    """
    problems: list[Problem] = []
    document, config = loaded.document, loaded.config
    if not dev and not config.identity.issuers:
        problems.append(
            document.problem(("identity",), "no issuer: nobody could log in", "add one, or start with --dev to try it")
        )
    for index, connection in enumerate(config.connections):
        place = ("connections", index)
        if dev and not settings.is_loopback(connection.host):
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
                problems += _source(loaded, (*where, "password"), account.password, environ)
            if account.key is not None and account.certificate is not None:
                problems += _source(loaded, (*where, "key"), account.key, environ)
                problems += _file(loaded, (*where, "certificate"), account.certificate)
        if accounts and connection.root_certificate is not None:
            problems += _file(loaded, (*place, "upstream"), connection.root_certificate)
    tls = config.enforcers.postgres.tls
    if accounts and tls is not None:
        problems += _file(loaded, ("enforcers", "postgres", "tls", "certificate"), tls.certificate)
        problems += _source(loaded, ("enforcers", "postgres", "tls", "key"), tls.key, environ)
    if accounts and config.masking is not None:
        problems += _source(loaded, ("masking", "key"), config.masking.key, environ)
    opa = config.policy.opa
    if opa is not None and opa.token is not None:
        problems += _source(loaded, ("policy", "opa", "token"), opa.token, environ)
    if problems:
        raise ConfigError(problems)


def variables(config: Config) -> set[str]:
    """The environment variables that the gateways' secrets are named by."""
    accounts = [account for connection in config.connections for account in connection.credentials.values()]
    sources = [source for account in accounts for source in (account.password, account.key)]
    if config.enforcers.postgres.tls is not None:
        sources.append(config.enforcers.postgres.tls.key)
    if config.masking is not None:
        sources.append(config.masking.key)
    return {source.env for source in sources if source is not None and source.env}


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


def _source(loaded: Loaded, place: tuple[str | int, ...], source: Source, environ: Mapping[str, str]) -> list[Problem]:
    document = loaded.document
    if source.env is not None and not environ.get(source.env):
        return [document.problem((*place, "env"), f"the variable {source.env} is not set", "export it before starting")]
    if source.file is not None and not loaded.absolute(source.file).is_file():
        return [document.problem((*place, "file"), f"no such file: {source.file}", "write it with mode 0600")]
    if source.exec is not None and "/" in source.exec[0] and not os.access(loaded.absolute(source.exec[0]), os.X_OK):
        message = f"not an executable file: {source.exec[0]}"
        return [document.problem((*place, "exec"), message, "correct the path, or chmod +x it")]
    return []


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
