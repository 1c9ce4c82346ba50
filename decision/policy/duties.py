"""The shapes of duties.yaml, and what it contradicts at load: refused with file, line, key and the fix.

A set that can never be broken, an assignment that already breaks one, a wall with one side: each would be a duty that
someone believes in and that forbids nothing. What the rules mean is in rego/duties; here nobody is told what they may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, TypeAlias
from zoneinfo import available_timezones

from decision.identity.documents import Document
from decision.identity.people import PeopleBook

Path: TypeAlias = tuple[str | int, ...]

_CONDITIONS: Final = frozenset({"environments", "connections", "labels"})
_TOP: Final = frozenset(
    {"static", "dynamic", "review", "never_write", "hierarchy", "assignments"}
    | {"cooling", "walls", "inner_walls", "windows", "chains", "processes", "minimum"}
)
# Of each entry: the keys it must have, and those it may have.
_ENTRIES: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "static": (frozenset({"name", "roles", "limit"}), _CONDITIONS),
    "dynamic": (frozenset({"name", "roles", "limit"}), _CONDITIONS),
    "cooling": (frozenset({"name", "after", "roles", "hours"}), _CONDITIONS),
    "walls": (frozenset({"name", "datasets"}), frozenset({"sanitised"})),
    "inner_walls": (frozenset({"name", "datasets"}), _CONDITIONS | {"sanitised"}),
    "windows": (frozenset({"name", "days", "from", "to", "zone"}), _CONDITIONS | {"roles"}),
    "chains": (frozenset({"name"}), _CONDITIONS | {"roles"}),
    "processes": (frozenset({"name", "per", "steps"}), _CONDITIONS | {"limit", "days"}),
    "minimum": (frozenset({"least"}), frozenset({"connections", "environments", "groups"})),
}
_MEMBERS: Final = frozenset({"relations", "labels"})
_STEP: Final = (frozenset({"name"}), frozenset({"access", "relations", "verbs"}))
_LISTS: Final = _CONDITIONS | {"roles", "after", "sanitised", "access", "relations", "verbs", "groups"}
_COUNTS: Final = frozenset({"limit", "hours", "least", "reciprocal_days", "policy_author_days"})
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ACCESS: Final = frozenset({"read", "insert", "update", "delete", "truncate", "lock", "ddl", "approve"})
_CONNECTION: Final = "connection of twokey.yaml"
_PER: Final = frozenset({"relation", "connection", "process"})


def check(
    document: Document | None,
    *,
    roles: Collection[str],
    verbs: Mapping[str, str],
    people: PeopleBook,
    connections: Collection[str],
) -> None:
    """Raises PolicyLoadError. `roles`: of roles.yaml; the hierarchy may have others. `verbs`: verbs.yaml.
    `connections`: of twokey.yaml; what names another would forbid nothing."""
    if document is None or not isinstance(document.data, Mapping):
        return
    data = document.data
    _keys(document, (), data, (frozenset(), _TOP))
    _shapes(document, connections)
    hierarchy = _hierarchy(document, roles)
    known_roles = {*roles, *hierarchy}
    _known(document, ("never_write",), data.get("never_write", []), known_roles)
    for kind in ("static", "dynamic"):
        for path, entry in _entries(document, kind):
            _set(document, path, entry)
            _known(document, (*path, "roles"), entry["roles"], known_roles)
    for path, entry in _entries(document, "cooling"):
        _known(document, (*path, "after"), entry["after"], known_roles)
        _known(document, (*path, "roles"), entry["roles"], known_roles)
    for path, entry in _entries(document, "walls"):
        _wall(document, path, entry, connections)
    for path, entry in _entries(document, "inner_walls"):
        _inner_wall(document, path, entry)
    for path, entry in _entries(document, "windows"):
        _window(document, path, entry)
    for kind in ("windows", "chains"):
        for path, entry in _entries(document, kind):
            _known(document, (*path, "roles"), entry.get("roles", []), {*known_roles, "*"})
    for path, entry in _entries(document, "processes"):
        _process(document, path, entry, verbs)
    for path, entry in _entries(document, "minimum"):
        known = {*verbs.values(), "delete", "*"}
        _known(document, (*path, "groups"), entry.get("groups", []), known, "class of verbs")
    _review(document, data.get("review"), known_roles)
    _assignments(document, roles=roles, hierarchy=hierarchy, people=people)


def _shapes(document: Document, connections: Collection[str]) -> None:
    for kind, keys in _ENTRIES.items():
        _unique(document, kind)
        for path, entry in _entries(document, kind):
            _keys(document, path, entry, keys)
            _values(document, path, entry)
            _known(document, (*path, "connections"), entry.get("connections", []), {*connections, "*"}, _CONNECTION)


def inherited(hierarchy: Mapping[str, Sequence[str]], roles: Collection[str]) -> frozenset[str]:
    """These roles and all below them."""
    found, new = set(roles), list(roles)
    while new:
        for role in hierarchy.get(new.pop(), ()):
            if role not in found:
                found.add(role)
                new.append(role)
    return frozenset(found)


def _entries(document: Document, kind: str) -> Iterator[tuple[Path, Mapping[str, object]]]:
    found = document.data.get(kind) if isinstance(document.data, Mapping) else None
    if found is None:
        return
    if not isinstance(found, list):
        document.fail((kind,), "is not a list", "write one entry under it, or leave it out")
    for number, entry in enumerate(found):
        if not isinstance(entry, Mapping):
            document.fail((kind, number), "is not a mapping", f"give it {_spelt(_ENTRIES[kind][0])}")
        yield (kind, number), entry


def _keys(
    document: Document, path: Path, entry: Mapping[str, object], keys: tuple[frozenset[str], frozenset[str]]
) -> None:
    must, may = keys
    for key in entry:
        if key not in must | may:
            document.fail((*path, key), "is no key that policy reads", f"use one of {_spelt(must | may)}")
    for key in sorted(must):
        if key not in entry:
            document.fail(path, f"{key} is missing", f"add {key}")


def _values(document: Document, path: Path, entry: Mapping[str, object]) -> None:
    for key, value in entry.items():
        here = (*path, key)
        if key in _LISTS and not _texts(value):
            document.fail(here, "is not a list of names", "write one, such as [a, b]")
        if key in _LISTS - {"sanitised"} and value == []:
            document.fail(here, "is empty, so that nothing fits it", "name some, or leave it out for any")
        if key in _COUNTS and (type(value) is not int or value < 1):
            document.fail(here, "is no whole number above zero", "write one")
        if key == "name" and not (isinstance(value, str) and value):
            document.fail(here, "is no name", "write one, such as planner-executor")


def _unique(document: Document, kind: str) -> None:
    seen: set[object] = set()
    for path, entry in _entries(document, kind):
        name = entry.get("name")
        if name is not None and name in seen:
            document.fail((*path, "name"), f"{name} is given twice", "give each its own name")
        seen.add(name)


def _set(document: Document, path: Path, entry: Mapping[str, object]) -> None:
    roles, limit = _list(entry["roles"]), entry["limit"]
    if len(set(roles)) != len(roles):
        document.fail((*path, "roles"), "names a role twice", "name each once")
    if not isinstance(limit, int) or limit < 2:
        document.fail((*path, "limit"), "forbids every one of these roles", "write 2 or more")
    if len(roles) < limit:
        what = f"{entry['name']} has {len(roles)} roles and a limit of {limit}, so that it forbids nothing"
        document.fail((*path, "limit"), what, "add roles, or lower the limit")


def _hierarchy(document: Document, roles: Collection[str]) -> Mapping[str, Sequence[str]]:
    found = _mapping(document, ("hierarchy",))
    known = {*roles, *found}
    for role, below in found.items():
        _known(document, ("hierarchy", role), below, known)
        for one in below:
            if role in inherited(found, [one]):
                document.fail(
                    ("hierarchy", role), f"{role} ends up below itself, by {one}", "let inheritance go one way"
                )
    return found


def _assignments(
    document: Document, *, roles: Collection[str], hierarchy: Mapping[str, Sequence[str]], people: PeopleBook
) -> None:
    assigned = _mapping(document, ("assignments",))
    for name, given in assigned.items():
        path: Path = ("assignments", name)
        if people.by_name(name) is None:
            document.fail(
                path,
                f"{name} is nobody in people.yaml",
                _meant(name, people.names, "correct the name, or add it there"),
            )
        _known(document, path, given, {*roles, *hierarchy})
        held = inherited(hierarchy, given)
        for _, entry in _entries(document, "static"):
            if any(key in entry for key in _CONDITIONS):
                continue  # where it counts depends on the connection: the rule sees to it
            both = held & set(_list(entry["roles"]))
            limit = entry["limit"]
            if isinstance(limit, int) and len(both) >= limit:
                what = f"{name} holds {_spelt(both)}, which exclude each other ({entry['name']})"
                document.fail(path, what, "take one of them from it")


def _wall(document: Document, path: Path, entry: Mapping[str, object], known: Collection[str]) -> None:
    datasets = _mapping(document, (*path, "datasets"), entry["datasets"])
    if len(datasets) < 2:
        document.fail((*path, "datasets"), "holds fewer than two, so that it forbids nothing", "name those in conflict")
    seen: dict[str, str] = {}
    _known(document, (*path, "sanitised"), entry.get("sanitised", []), known, _CONNECTION)
    for name, connections in datasets.items():
        _known(document, (*path, "datasets", name), connections, known, _CONNECTION)
        for one in connections:
            if one in seen:
                what = f"{one} is in {seen[one]} and in {name}: nobody could open it"
                document.fail((*path, "datasets", name), what, "let it be in one")
            seen[one] = name


def _inner_wall(document: Document, path: Path, entry: Mapping[str, object]) -> None:
    datasets = entry["datasets"]
    here = (*path, "datasets")
    if not isinstance(datasets, Mapping) or len(datasets) < 2:
        document.fail(here, "holds fewer than two, so that it forbids nothing", "name those in conflict")
    seen: dict[tuple[str, str], str] = {}
    for name, members in datasets.items():
        if not isinstance(name, str) or not isinstance(members, Mapping) or not members:
            document.fail((*here, str(name)), "is not {relations: [...], labels: [...]}", "give it one of the two")
        _keys(document, (*here, name), members, (frozenset(), _MEMBERS))
        _values(document, (*here, name), members)
        for kind in sorted(_MEMBERS & members.keys()):
            for number, one in enumerate(_list(members[kind])):
                at = (*here, name, kind, number)
                if kind == "relations" and "." not in one:
                    document.fail(
                        at, f"{one} names no schema, so that nothing is in it", "write schema.relation, or schema.*"
                    )
                if (kind, one) in seen:
                    document.fail(
                        at, f"{one} is in {seen[kind, one]} and in {name}: nobody could read it", "let it be in one"
                    )
                seen[kind, one] = name
    for number, one in enumerate(_list(entry.get("sanitised", []))):
        if "." not in one:
            document.fail((*path, "sanitised", number), f"{one} names no schema", "write schema.relation")


def _window(document: Document, path: Path, entry: Mapping[str, object]) -> None:
    days = _list(entry["days"])
    if not days or any(day not in _DAYS for day in days):
        document.fail((*path, "days"), "is not a list of days", f"use some of {', '.join(_DAYS)}")
    for key in ("from", "to"):
        if not _is_clock(entry[key]):
            document.fail((*path, key), "is no time of day", 'write it in quotes, such as "08:30"')
    if entry["from"] == entry["to"]:
        document.fail((*path, "to"), "is when it begins, so that it is never open", "write another time")
    if entry["zone"] not in available_timezones():
        document.fail((*path, "zone"), f"{entry['zone']!r} is no time zone", "write one as in Europe/Berlin, or UTC")


def _is_clock(value: object) -> bool:
    if not isinstance(value, str) or len(value) != 5 or value[2] != ":" or not (value[:2] + value[3:]).isdecimal():
        return False
    return value.isascii() and int(value[:2]) < 24 and int(value[3:]) < 60


def _process(document: Document, path: Path, entry: Mapping[str, object], verbs: Mapping[str, str]) -> None:
    if entry["per"] not in _PER:
        document.fail((*path, "per"), f"{entry['per']!r} means nothing", f"write one of {_spelt(_PER)}")
    days = entry.get("days", 1)
    if type(days) is not int or not 1 <= days <= 24_000:
        document.fail((*path, "days"), "is no number of days", "write a whole number from 1")
    steps = entry["steps"]
    if not isinstance(steps, list):
        document.fail((*path, "steps"), "is not a list", "write the steps, each with a name")
    names: set[object] = set()
    for number, step in enumerate(steps):
        here = (*path, "steps", number)
        if not isinstance(step, Mapping):
            document.fail(here, "is not a mapping", "give it name, and access or verbs")
        _keys(document, here, step, _STEP)
        _values(document, here, step)
        _known(document, (*here, "access"), step.get("access", []), _ACCESS, "access of docs/operation.md")
        _known(document, (*here, "verbs"), step.get("verbs", []), verbs, "verb of verbs.yaml")
        if not ("access" in step or "verbs" in step):
            document.fail(here, "is taken by nothing", "give it access or verbs")
        if step["name"] in names:
            document.fail((*here, "name"), f"{step['name']} is given twice", "give each its own name")
        names.add(step["name"])
    limit = entry.get("limit", len(steps))
    if not isinstance(limit, int) or limit < 2 or len(steps) < limit:
        what = f"{entry['name']} has {len(steps)} steps and a limit of {limit}: it forbids nothing, or everything"
        document.fail(
            (*path, "limit") if "limit" in entry else (*path, "steps"), what, "name at least two, and as many"
        )


def _review(document: Document, review: object, roles: Collection[str]) -> None:
    if not isinstance(review, Mapping):
        return  # absent: the policy itself then denies
    _keys(document, ("review",), review, (frozenset({"role"}), frozenset({"reciprocal_days", "policy_author_days"})))
    _values(document, ("review",), review)
    role = review["role"]
    if role not in roles:
        document.fail(("review", "role"), f"{role!r} is no role of roles.yaml", _meant(role, roles))


def _mapping(document: Document, path: Path, found: object = None) -> Mapping[str, Sequence[str]]:
    """Names with lists of names; none where nothing stands there."""
    if found is None and len(path) == 1 and isinstance(document.data, Mapping):
        found = document.data.get(path[0])
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        document.fail(path, "is not a mapping", "write names, each with a list")
    for name, values in found.items():
        if not isinstance(name, str) or not _texts(values):
            document.fail((*path, str(name)), "is not a list of names", "write one, such as [a, b]")
    return found


def _known(
    document: Document, path: Path, names: object, known: Collection[str], what: str = "role of roles.yaml"
) -> None:
    for number, name in enumerate(_list(names)):
        if name not in known:
            document.fail((*path, number), f"{name!r} is no {what}", _meant(name, known))


def _meant(name: object, known: Collection[str], otherwise: str = "") -> str:
    """What to do about a name that nobody has: the nearest that somebody has, where one is near."""
    near = get_close_matches(str(name), sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise or f"use one of {_spelt(known)}"


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _list(value: object) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _spelt(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
