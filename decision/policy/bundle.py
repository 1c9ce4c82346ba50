"""Everything that can change a decision, read all or nothing into memory, and the revision over it.

Rego, policy data, people, issuer role maps, connections with their environments, and classification. What is read
here is what OPA gets: the files are not looked at again after the revision is known.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from decision import columns
from decision.columns import ColumnName
from decision.errors import PolicyLoadError
from decision.identity.documents import Document, error_at, parse, read_bytes
from decision.identity.people import PeopleBook, read_people
from decision.policy import classification, duties, entrypoints, vocabulary
from decision.policy.masks import PlannedMask, planned

_MAX_FILES = 2000
SETTINGS = "the configuration"  # where no file of it is known
PROGRAM = "twokey and OPA"
_DATA_ENDINGS = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSource:
    name: str
    kind: str
    environment: str
    classification: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySources:
    """Where a policy comes from. `rego` and `data` None: the shipped ones."""

    rego: Path | None
    data: Path | None
    people: Path
    connections: tuple[ConnectionSource, ...]
    issuers: tuple[Mapping[str, object], ...]  # identity.issuers of the settings document
    dev: bool
    configuration: Path | None = None  # the file that issuers and connections stand in, where one is known

    @classmethod
    def from_settings(cls, document: Mapping[str, object]) -> PolicySources:
        """Of the decision service's settings document (docs/architecture.md). Raises PolicyLoadError."""
        try:
            return cls._from_settings(document)
        except (KeyError, TypeError, AttributeError) as error:
            raise PolicyLoadError(f"the settings document is incomplete: {error}") from None

    @classmethod
    def _from_settings(cls, settings: Mapping[str, object]) -> PolicySources:
        policy = _part(settings.get("policy") or {})
        connections = tuple(
            ConnectionSource(
                name=str(item["name"]),
                kind=str(item["kind"]),
                environment=str(item["environment"]),
                classification=_path(item.get("classification")),
            )
            for item in map(_part, _items(settings["connections"]))
        )
        return cls(
            rego=_path(policy.get("rego")),
            data=_path(policy.get("data")),
            people=Path(str(settings["people"])),
            connections=connections,
            issuers=tuple(map(_part, _items(_part(settings["identity"]).get("issuers") or []))),
            dev=_part(settings["run"]).get("dev") is True,
            configuration=_path(settings.get("configuration")),
        )

    @property
    def rego_dir(self) -> Path:
        return self.rego or shipped_rego()

    def watched_dirs(self) -> tuple[Path, ...]:
        """Folders whose whole content matters."""
        return tuple(path for path in (self.rego_dir, self.data) if path is not None and path.is_dir())

    def watched_files(self) -> tuple[Path, ...]:
        """Single files that matter."""
        return (self.people, *(item.classification for item in self.connections if item.classification is not None))


@dataclass(frozen=True, slots=True)
class Written:
    """What a file of the policy held, and whose it is: for the record of a change, not for the revision."""

    digest: str
    owner: str  # the account's name, or its number


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """One policy in memory. `modules`: path under the Rego folder -> bytes. `data`: the bundle's data document."""

    modules: Mapping[str, bytes]
    data: bytes
    capabilities: Path
    schema: Path | None
    rego_dir: Path
    people: PeopleBook
    revision: str
    masks: Mapping[str, tuple[PlannedMask, ...]]  # by connection (postgres): what its classified columns get
    classified: Mapping[str, tuple[ColumnName, ...]]  # by connection (postgres): the columns that its file names
    files: Mapping[str, Written] = field(default_factory=dict)
    derived: int = 0  # labels in the store when it was read
    derives: bool = False  # masking.yaml lets a role derive labels
    entrypoints: Mapping[str, str] = field(default_factory=dict)  # foreign resource type -> the package that answers


def shipped_rego() -> Path:
    """The policies that come with twokey: inside the wheel, else the checkout's rego/."""
    packed = Path(__file__).resolve().parent.parent / "shipped" / "rego"
    return packed if packed.is_dir() else Path(__file__).resolve().parents[2] / "rego"


def load_policy(
    sources: PolicySources, *, engine_version: str, derived: Mapping[str, Mapping[str, str]] | None = None
) -> LoadedPolicy:
    """Read and check everything except the Rego itself, which `staging.check` lets OPA judge.

    Blocks on files: call it in a thread. Raises PolicyLoadError.
    """
    try:
        return _load(sources, engine_version, derived or {})
    except OSError as error:
        raise error_at(str(error.filename), 0, "", f"can't be read: {error.strerror}", "make it readable") from None


def _load(sources: PolicySources, engine_version: str, derived: Mapping[str, Mapping[str, str]]) -> LoadedPolicy:
    modules = _read_modules(sources.rego_dir)
    people = read_people(parse(read_bytes(sources.people), str(sources.people)), dev=sources.dev)
    files = _read_policy_data(sources)
    if _is_shipped_kind(sources):
        known = {str(verb): str(group) for verb, group in _items_of(files.get("verbs"))}
        roles = {name for name, _ in _items_of(files.get("roles"))}
        names = {item.name for item in sources.connections}
        duties.check(files.get("duties"), roles=roles, verbs=known, people=people, connections=names)
    masking = files.get("masking") if _is_shipped_kind(sources) else None
    classified = {
        item.name: classification.read(item.classification, kind=item.kind, masking=masking)
        for item in sources.connections
    }
    foreign = entrypoints.read(files.get("authzen"), modules) if _is_shipped_kind(sources) else {}
    labels = {name: found.labels for name, found in classified.items()}
    inherited = classification.uncommitted(_with_peers(sources, derived), labels)
    config: dict[str, object] = {
        "people": people.document(),
        "roles": {str(item.get("issuer")): item.get("roles") for item in sources.issuers},
        "connections": {
            item.name: {"kind": item.kind, "environment": item.environment} for item in sources.connections
        },
        "classification": {name: {**inherited.get(name, {}), **found} for name, found in labels.items()},
        "derived": inherited,
        "policy": {stem: document.data for stem, document in files.items()},
    }
    capabilities = shipped_rego() / "capabilities.json"
    data = orjson.dumps({"twokey": {"config": config}}, option=orjson.OPT_SORT_KEYS)
    parts = {f"rego/{name}": content for name, content in modules.items()}
    parts["data"] = data
    parts["issuers"] = orjson.dumps(list(sources.issuers), option=orjson.OPT_SORT_KEYS)
    parts["capabilities"] = read_bytes(capabilities)
    parts["engine"] = engine_version.encode()
    parts["dev"] = b"1" if sources.dev else b"0"
    schema = shipped_rego() / "schemas"
    return LoadedPolicy(
        modules=modules,
        data=data,
        capabilities=capabilities,
        schema=schema if schema.is_dir() else None,
        rego_dir=sources.rego_dir,
        people=people,
        revision=revision_of(parts),
        masks={
            item.name: planned(classified[item.name], masking, _data(files.get("roles")))
            for item in sources.connections
            if item.kind == "postgres" and masking is not None
        },
        classified={
            item.name: tuple(map(columns.parse, labels[item.name]))
            for item in sources.connections
            if item.kind == "postgres"
        },
        files={**_written(sources), **_settled(sources, parts)},
        derived=sum(map(len, derived.values())),
        derives=any(_derive(files)),
        entrypoints=foreign,
    )


def _written(sources: PolicySources) -> Mapping[str, Written]:
    """Each file that was read; the folders' rest, tests and hidden files, changes nothing."""
    own = sources.rego_dir / "data"
    paths = [path for path in _walk(sources.rego_dir) if path.suffix == ".rego" and not path.stem.endswith("_test")]
    paths += [*_data_files(own if own.is_dir() else shipped_rego() / "data").values(), *sources.watched_files()]
    if sources.data is not None:
        paths += _data_files(sources.data).values()
    return {str(path): Written(hashlib.sha256(read_bytes(path)).hexdigest(), _owner(path)) for path in paths}


def _settled(sources: PolicySources, parts: Mapping[str, bytes]) -> Mapping[str, Written]:
    """What only a start reads: issuers with their role maps, connections with their environments; and OPA."""
    of_file = {
        "issuers": parts["issuers"].decode(),
        "dev": sources.dev,
        "connections": sorted(
            [one.name, one.kind, one.environment, str(one.classification)] for one in sources.connections
        ),
        "folders": [str(sources.rego), str(sources.data), str(sources.people)],
    }
    path = sources.configuration
    name, owner = (SETTINGS, _account(os.getuid())) if path is None else (str(path), _owner(path))
    program = revision_of({"capabilities": parts["capabilities"], "engine": parts["engine"]})
    return {
        name: Written(hashlib.sha256(orjson.dumps(of_file)).hexdigest(), owner),
        PROGRAM: Written(program, _owner(shipped_rego() / "capabilities.json")),
    }


def _owner(path: Path) -> str:
    return _account(path.stat().st_uid)


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def changed(before: Mapping[str, Written], after: Mapping[str, Written]) -> Mapping[str, str]:
    """The files that differ, and who owns them now; of one that is gone, who did."""
    names = sorted({*before, *after})
    differing = [name for name in names if _digest(before, name) != _digest(after, name)]
    return {name: (after.get(name) or before[name]).owner for name in differing}


def _digest(files: Mapping[str, Written], name: str) -> str:
    found = files.get(name)
    return "" if found is None else found.digest


def _with_peers(sources: PolicySources, derived: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Connections that read one classification file have one target's columns by several ways: what is derived
    through one counts for all of them."""
    found: dict[str, dict[str, str]] = {}
    for item in sources.connections:
        peers = {other.name for other in sources.connections if other.classification == item.classification is not None}
        for name in sorted(peers | {item.name}, reverse=True):
            found.setdefault(item.name, {}).update(derived.get(name, {}))
    return found


def _derive(files: Mapping[str, Document]) -> Iterable[object]:
    masking = _data(files.get("masking"))
    derive = masking.get("derive") if isinstance(masking, Mapping) else None
    return derive.values() if isinstance(derive, Mapping) else ()


def _data(document: Document | None) -> object:
    return None if document is None else document.data


def _items_of(document: Document | None) -> Iterable[tuple[str, object]]:
    data = _data(document)
    return data.items() if isinstance(data, Mapping) else ()


def revision_of(parts: Mapping[str, bytes]) -> str:
    """Hex SHA-256 over the named parts, sorted by name, every name and content behind its length (8 bytes)."""
    digest = hashlib.sha256(b"twokey policy revision 1\n")
    for name in sorted(parts):
        for piece in (name.encode(), parts[name]):
            digest.update(len(piece).to_bytes(8, "big"))
            digest.update(piece)
    return digest.hexdigest()


def _read_modules(folder: Path) -> dict[str, bytes]:
    modules: dict[str, bytes] = {}
    for path in _walk(folder):
        if path.suffix != ".rego" or path.name.endswith("_test.rego"):
            continue
        modules[path.relative_to(folder).as_posix()] = read_bytes(path)
        if len(modules) > _MAX_FILES:
            raise error_at(str(folder), 0, "", f"holds more than {_MAX_FILES} Rego files", "name the right folder")
    if not modules:
        raise error_at(str(folder), 0, "policy.rego", "holds no Rego file", "name the folder with the policies")
    return modules


def _walk(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        raise error_at(str(folder), 0, "policy.rego", "there is no such folder", "create it, or correct its name")
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _is_shipped_kind(sources: PolicySources) -> bool:
    """The policies are the shipped ones, or have their data's form."""
    return (sources.rego_dir / "schemas" / "config.json").is_file()


def _read_policy_data(sources: PolicySources) -> dict[str, Document]:
    """The shipped data files, each replaced as a whole by the configured folder's file of the same name."""
    own = sources.rego_dir / "data"
    base = _data_files(own if own.is_dir() else shipped_rego() / "data")
    override: dict[str, Path] = {}
    if sources.data is not None:
        if not sources.data.is_dir():
            raise error_at(str(sources.data), 0, "policy.data", "there is no such folder", "create it")
        override = _data_files(sources.data)
        if sources.rego_dir == shipped_rego():
            _refuse_unread(override, base)
    files = {stem: parse(read_bytes(path), str(path)) for stem, path in sorted((base | override).items())}
    if _is_shipped_kind(sources):
        vocabulary.check(files)
    return files


def _refuse_unread(override: Mapping[str, Path], base: Mapping[str, Path]) -> None:
    """With the shipped Rego a file of another name would silently do nothing."""
    for stem, path in override.items():
        if base and stem not in base:
            known = ", ".join(sorted(base))
            raise error_at(str(path), 0, "", "no shipped policy reads this file", f"name it one of {known}")


def _data_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if path.suffix not in _DATA_ENDINGS or path.name.startswith("."):
            continue
        if path.stem in found:
            raise error_at(str(path), 0, "", f"stands beside {found[path.stem].name}", "keep one of the two")
        found[path.stem] = path
    return found


def _part(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError("an object is expected")
    return value


def _items(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list is expected")
    return value


def _path(value: object) -> Path | None:
    return None if value is None else Path(str(value))
