"""The words in the policy data: a name that exists nowhere would silently grant, hold or deny nothing.

`deny: [remov]` in risks.yaml is no error to Rego: nothing is ever in that group. So every name of a group, class and
role, and every key, is looked up when the data is loaded. Checked only beside the shipped policies (a folder of Rego
with `schemas/config.json`, which describes this data): other policies have words of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from decision.identity.documents import Document
from decision.policy import maskers

Path: TypeAlias = tuple[str | int, ...]

_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "roles": frozenset({"connect", "grants", "settings", "functions", "opaque", "read_only", "statement_timeout_ms"}),
    "risks": frozenset({"deny", "hold", "hold_delete", "hold_without_where"}),
}
_ENTRY: Final = frozenset({"name", "roles", "environments", "connections", "type", "parameters"})
# What may be attached to whom, and the one parameter it then has: a whole number above zero ("" for none).
_OBLIGATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "session": {"read-only": "", "statement-timeout": "ms", "max-duration": "ms"},
    "act": {
        "max-rows": "rows",
        "max-bytes": "bytes",
        "max-duration": "ms",
        "read-only": "",
        "statement-timeout": "ms",
        "require-reason": "",
    },
}
_MASKING: Final = frozenset({"clear", "default", "derive", "inference", "labels", "maskers", "roles"})
_BUDGET: Final = frozenset({"name", "per_hour", "kinds", "labels", "roles", "environments", "connections"})
_AT_SERVERS: Final = frozenset({"read", "write", "define"})
_REASON: Final = re.compile(r"[a-z-]+: .+")
_MAX_NAME: Final = 128
_MAX_PER_HOUR: Final = 1000
# The ways in which a column decides something that can be seen: docs/operation.md, `inferences`.
_INFERENCES: Final = frozenset(
    {
        *("where", "join", "join-foreign-key", "group", "having", "distinct", "set-operation", "order", "limit"),
        *("filter", "aggregate", "case", "window", "set-returning", "exists", "on-conflict", "merge", "constraint"),
        *("row-security", "partition", "expression", "estimate"),
    }
)
_BUDGETS: Final = frozenset({"write", "export", "read"})
_TRUTHS: Final = frozenset({"connect", "read_only", "hold_delete", "hold_without_where"})
_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "functions": frozenset({"any", "careful"}),
    "opaque": frozenset({"deny", "hold"}),
}


def check(files: Mapping[str, Document]) -> None:
    """`files` by name without ending. Raises PolicyLoadError with file, line, key and the fix."""
    groups = frozenset(str(group) for _, group in _entries(files.get("verbs"), ()))
    kinds = [_entries(files.get("settings"), (kind,)) for kind in ("classes", "values")]
    classes = frozenset(name for entries in kinds for name, _ in entries)
    roles = frozenset(name for name, _ in _entries(files.get("roles"), ()))
    _check_roles(files.get("roles"), groups, classes)
    _check_risks(files.get("risks"), groups)
    _check_budgets(files.get("budgets"))
    _check_duties(files.get("duties"), roles)
    _words(files.get("harmless"), ("groups",), groups, "group of verbs.yaml")
    _words(files.get("harmless"), ("settings",), classes, "class of settings.yaml")
    _words(files.get("leases"), ("groups",), groups, "group of verbs.yaml")
    _names(files.get("masking"), ("clear",), roles)
    _names(files.get("masking"), ("derive",), roles)
    _names(files.get("masking"), ("roles",), roles)
    _check_masking(files.get("masking"), roles)
    _check_obligations(files.get("obligations"), roles, groups)
    _check_unseen(files.get("unseen"))


def _check_unseen(document: Document | None) -> None:
    if document is None:
        return
    _keys(document, (), document.data, frozenset({"servers", "reasons"}))
    for connection, entry in _entries(document, ("servers",)):
        if not isinstance(entry, Mapping):
            document.fail(("servers", connection), "is not a mapping", "write `{billing: [read]}`")
        for server, _ in _entries(document, ("servers", connection)):
            _words(document, ("servers", connection, server), _AT_SERVERS, "access")
    for connection, reasons in _entries(document, ("reasons",)):
        for number, reason in enumerate(reasons if isinstance(reasons, list) else ()):
            if not isinstance(reason, str) or not _REASON.fullmatch(reason):
                document.fail(
                    ("reasons", connection, number), "is no reason", "write it as a denial does: `code: what does it`"
                )


def _check_roles(document: Document | None, groups: Collection[str], classes: Collection[str]) -> None:
    for role, entry in _entries(document, ()):
        _keys(document, (role,), entry, _KEYS["roles"])
        for environment, _ in _entries(document, (role, "grants")):
            _words(document, (role, "grants", environment), groups, "group of verbs.yaml")
        _words(document, (role, "settings"), classes, "class of settings.yaml")


def _check_risks(document: Document | None, groups: Collection[str]) -> None:
    if document is None:
        return
    if "*" not in dict(_entries(document, ())):
        document.fail((), 'has no entry "*"', "say what counts for environments that are not named")
    for environment, entry in _entries(document, ()):
        _keys(document, (environment,), entry, _KEYS["risks"])
        for key in ("deny", "hold"):
            _words(document, (environment, key), groups, "group of verbs.yaml")


def _check_budgets(document: Document | None) -> None:
    for environment, entry in _entries(document, ("environments",)):
        _keys(document, ("environments", environment), entry, _BUDGETS)
        for key, rows in _entries(document, ("environments", environment)):
            if document is not None and (type(rows) is not int or rows < -1):
                document.fail(("environments", environment, key), "is no number of rows", "write one, or -1 for none")


def _check_masking(document: Document | None, roles: Collection[str]) -> None:
    if document is None:
        return
    _keys(document, (), document.data, _MASKING)
    if _at(document, ("inference",)) is not None:
        _keys(document, ("inference",), _at(document, ("inference",)), frozenset({"allow", "budgets"}))
        _words(document, ("inference", "allow"), _INFERENCES, "kind of inference (docs/operation.md)")
        _check_inference_budgets(document, roles)
    places: list[Path] = [("default",)] if _at(document, ("default",)) is not None else []
    places.extend(("maskers", label) for label, _ in _entries(document, ("maskers",)))
    for role, _ in _entries(document, ("roles",)):
        places.extend(("roles", role, label) for label, _ in _entries(document, ("roles", role)))
    for place in places:
        wrong = maskers.fault(_at(document, place))
        if wrong:
            document.fail(place, wrong, "docs/policy.md lists the maskers and their parameters")
    _check_labels(document, [place for place in places if place != ("default",)])


def _check_inference_budgets(document: Document, roles: Collection[str]) -> None:
    path: Path = ("inference", "budgets")
    entries = _at(document, path)
    if entries is None:
        return
    if not isinstance(entries, list):
        document.fail(path, "is not a list", "write `- {name: lookups, kinds: [where], per_hour: 20}`")
    known = _at(document, ("labels",))
    names: set[object] = set()
    for number, entry in enumerate(entries):
        here = (*path, number)
        _keys(document, here, entry, _BUDGET)
        name, limit = entry.get("name"), entry.get("per_hour")
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            document.fail((*here, "name"), "is no name", "give the budget one that people will read")
        if name in names:
            document.fail(
                (*here, "name"), f"{name!r} stands above already", "units are counted by name: choose another"
            )
        names.add(name)
        if type(limit) is not int or not 0 < limit <= _MAX_PER_HOUR:
            document.fail((*here, "per_hour"), "is no number of statements", f"write one from 1 to {_MAX_PER_HOUR}")
        _words(document, (*here, "kinds"), {*_INFERENCES, "*"}, "kind of inference (docs/operation.md)")
        _words(document, (*here, "roles"), {*roles, "*"}, "role of roles.yaml")
        if isinstance(known, list):
            _words(document, (*here, "labels"), {*map(str, known), "*"}, "label of `labels`")
        for key in ("labels", "environments", "connections"):
            if not isinstance(entry.get(key, []), list):
                document.fail((*here, key), "is not a list", "write one, such as [a, b]")


def _check_labels(document: Document, maskers_of: Collection[Path]) -> None:
    """Where `labels` lists all there are, every label that is cleared or masked is one of them."""
    known = _at(document, ("labels",))
    if known is None:
        return
    if not isinstance(known, list) or not all(isinstance(label, str) for label in known):
        document.fail(("labels",), "is not a list of labels", "write one, such as [email, pan]")
    for role, _ in _entries(document, ("clear",)):
        _words(document, ("clear", role), {*known, "*"}, "label of `labels`")
    for place in maskers_of:
        if place[-1] not in known:
            document.fail(place, f"{place[-1]!r} is no label of `labels`", _nearest(known))


def _check_obligations(document: Document | None, roles: Collection[str], groups: Collection[str]) -> None:
    for kind, known in _OBLIGATIONS.items():
        entries = None if document is None else _at(document, (kind,))
        if document is None or not isinstance(entries, list):
            continue  # absent or no list: the policy itself then denies, as its data is incomplete
        keys = _ENTRY | {"groups"} if kind == "act" else _ENTRY
        for number, entry in enumerate(entries):
            path: Path = (kind, number)
            _keys(document, path, entry, keys)
            _words(document, (*path, "roles"), {*roles, "*"}, "role of roles.yaml")
            _words(document, (*path, "groups"), {*groups, "*"}, "group of verbs.yaml")
            for key in ("environments", "connections"):
                if not isinstance(entry.get(key, []), list):
                    document.fail((*path, key), "is not a list", "write one, such as [a, b]")
            _check_obligation(document, path, entry, known)


def _check_obligation(document: Document, path: Path, entry: Mapping[str, object], known: Mapping[str, str]) -> None:
    name = entry.get("type")
    if not isinstance(name, str) or name not in known:
        document.fail((*path, "type"), f"{name!r} can't be attached here", _nearest(known))
    wanted = known[name]
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, Mapping) or set(parameters) != ({wanted} if wanted else set()):
        fix = f"write {{{wanted}: a number}}" if wanted else "leave them out"
        document.fail((*path, "parameters"), f"are not those of {name}", fix)
    if wanted and (type(parameters[wanted]) is not int or parameters[wanted] < (0 if wanted == "rows" else 1)):
        document.fail((*path, "parameters", wanted), "is no limit", "write a whole number above zero")


def _check_duties(document: Document | None, roles: Collection[str]) -> None:
    if document is None:
        return
    for kind in ("static", "dynamic"):
        sets = _at(document, (kind,))
        for number in range(len(sets) if isinstance(sets, list) else 0):
            _words(document, (kind, number, "roles"), roles, "role of roles.yaml")
    _words(document, ("never_write",), roles, "role of roles.yaml")
    reviewer = _at(document, ("review", "role"))
    if reviewer is not None and reviewer not in roles:
        document.fail(("review", "role"), f"{reviewer!r} is no role of roles.yaml", _nearest(roles))


def _keys(document: Document | None, path: Path, entry: object, known: Collection[str]) -> None:
    if document is None:
        return
    if not isinstance(entry, Mapping):
        document.fail(path, "is not a mapping", f"give it {_spelt(known)}")
    for key, value in entry.items():
        if key not in known:
            document.fail((*path, key), "is no key that policy reads", f"use one of {_spelt(known)}")
        if key in _TRUTHS and type(value) is not bool:
            document.fail((*path, key), "is neither true nor false", "write one of them")
        if key in _CHOICES and value not in _CHOICES[key]:
            document.fail((*path, key), f"{value!r} means nothing", f"write one of {_spelt(_CHOICES[key])}")


def _words(document: Document | None, path: Path, known: Collection[str], what: str) -> None:
    """A list of known names; absent is left to the schema of the policies."""
    if document is None:
        return
    found = _at(document, path)
    if found is None:
        return
    if not isinstance(found, list):
        document.fail(path, "is not a list", "write one, such as [a, b]")
    for number, name in enumerate(found):
        if name not in known:
            document.fail((*path, number), f"{name!r} is no {what}", _nearest(known))


def _names(document: Document | None, path: Path, known: Collection[str]) -> None:
    for name, _ in _entries(document, path):
        if document is not None and name not in known:
            document.fail((*path, name), f"{name!r} is no role of roles.yaml", _nearest(known))


def _nearest(known: Collection[str]) -> str:
    return f"use one of {_spelt(known)}"


def _spelt(known: Collection[str]) -> str:
    return ", ".join(sorted(known))


def _entries(document: Document | None, path: Path) -> Iterator[tuple[str, object]]:
    found = None if document is None else _at(document, path)
    return iter(found.items() if isinstance(found, dict) else ())


def _at(document: Document, path: Sequence[str | int]) -> object:
    """What stands there; None where nothing does."""
    found: object = document.data
    for step in path:
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found
