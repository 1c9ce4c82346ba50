"""people.yaml: which identities belong to which principal, and who owns which agent (design, sections 1 and 3).

Duties are separated between principals, not accounts. So an identity is looked up first, and every set that a duty
rule compares (closure, acting closure) is made of names from here; an identity that is not here stands for itself,
spelt as the compact JSON array `["iss","sub"]`, which no name can imitate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import orjson

from decision.identity.documents import Document
from decision.model import IdentityKey, Party, Subject, VerifiedToken

DEV_ISSUER = "urn:twokey:dev"
OS_ISSUER = "urn:twokey:os"  # accounts of this machine, by name: who owns a changed file of the policy
EXCHANGE_ISSUER = "urn:twokey:exchange"  # of this service's own tokens; its subjects are subagents, NAME/sub/NUMBER

TRANSACTION = "txn:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}\Z")
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One principal (`owner` is None) or agent."""

    name: str
    identities: tuple[IdentityKey, ...]
    groups: tuple[str, ...]
    owner: str | None


class PeopleBook:
    """Implements ports.People. Immutable; built by `read_people`."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries: Mapping[str, Entry] = {entry.name: entry for entry in entries}
        self._by_identity: Mapping[IdentityKey, Entry] = {
            identity: entry for entry in entries for identity in entry.identities
        }

    def party(self, identity: IdentityKey) -> Party:
        """Who an identity is. One that people.yaml doesn't know has kind "unknown" and no name."""
        entry = self._by_identity.get(identity)
        if entry is None:
            subagent = self._subagent(identity)
            if subagent is not None:
                return subagent
            return Party(identity=identity, name="", kind="unknown", owner="", groups=())
        kind = "person" if entry.owner is None else "agent"
        return Party(identity=identity, name=entry.name, kind=kind, owner=entry.owner or "", groups=entry.groups)

    def _subagent(self, identity: IdentityKey) -> Party | None:
        """NAME/sub/NUMBER of this service's own issuer: a subagent of NAME, which owns it. Nobody else signs those."""
        parent, separator, number = identity.sub.rpartition("/sub/")
        root = self._entries.get(parent.partition("/sub/")[0])
        if identity.iss != EXCHANGE_ISSUER or not separator or not number.isdigit() or root is None or not root.owner:
            return None
        return Party(identity=identity, name=identity.sub, kind="agent", owner=parent, groups=())

    @property
    def names(self) -> Collection[str]:
        """Of all principals and agents."""
        return self._entries.keys()

    def by_name(self, name: str) -> Party | None:
        """A principal or agent by name, under its first identity."""
        entry = self._entries.get(name)
        return None if entry is None else self.party(entry.identities[0])

    def closure(self, identity: IdentityKey) -> tuple[str, ...]:
        """Who stands behind one identity, sorted."""
        return tuple(sorted(self._with_owners(self.party(identity))))

    def subject(self, token: VerifiedToken, *, role: str) -> Subject:
        """Join a token with people. Adding an actor never takes anything out of the closure.

        What an issuer says to be one transaction stands for whoever takes part in it: who was left out of a chain when
        a token was exchanged elsewhere is still of the closure of what came of it (T22)."""
        party = self.party(token.identity)
        chain = tuple(self.party(actor) for actor in token.actors)
        closure = self._with_owners(party).union(*(self._with_owners(actor) for actor in chain))
        closure |= {spell_transaction(*one) for one in token.transactions}
        acting = self._with_owners(chain[0] if chain else party)
        return Subject(
            party=party,
            actors=chain,
            roles=token.roles,
            role=role,
            closure=tuple(sorted(closure)),
            acting_closure=tuple(sorted(acting)),
            token_id=token.token_id,
            dev=token.dev,
            keys=tuple(sorted(token.keys)),
        )

    def _with_owners(self, party: Party) -> frozenset[str]:
        """The party and, for an agent, its owner, the owner's owner, … A name stands for all its identities."""
        if not party.name:
            return frozenset({spell_identity(party.identity)})
        names = {party.name}
        owner: str | None = party.owner or None
        while owner is not None and "/sub/" in owner:  # a subagent's subagent
            names.add(owner)
            owner = owner.rpartition("/sub/")[0]
        while owner is not None:  # ends: read_people refuses loops
            names.add(owner)
            owner = self._entries[owner].owner
        return frozenset(names)

    def document(self) -> dict[str, object]:
        """`data.twokey.config.people`: what Rego reads."""
        principals: list[dict[str, object]] = []
        agents: list[dict[str, object]] = []
        for name in sorted(self._entries):
            entry = self._entries[name]
            identities = [{"iss": key.iss, "sub": key.sub} for key in entry.identities]
            common: dict[str, object] = {"name": name, "identities": identities, "groups": list(entry.groups)}
            if entry.owner is None:
                principals.append(common)
            else:
                agents.append({**common, "owner": entry.owner})
        return {"principals": principals, "agents": agents}


def spell_identity(identity: IdentityKey) -> str:
    """An identity that people.yaml doesn't know, as an element of a closure: `["iss","sub"]`."""
    return orjson.dumps([identity.iss, identity.sub]).decode()


def spell_transaction(issuer: str, txn: str) -> str:
    """As an element of a closure: `txn:["iss","…"]`, which no name and no identity is spelt like."""
    return TRANSACTION + orjson.dumps([issuer, txn]).decode()


def read_people(document: Document, *, dev: bool) -> PeopleBook:
    """Check the whole of people.yaml. With `dev` each entry also has the identity (urn:twokey:dev, NAME).

    Raises PolicyLoadError naming file, line, key and fix.
    """
    return PeopleBook(_Reader(document, dev=dev).read())


class _Reader:
    def __init__(self, document: Document, *, dev: bool) -> None:
        self._document = document
        self._dev = dev
        self._entries: dict[str, Entry] = {}
        self._seen: dict[IdentityKey, str] = {}
        self._owner_paths: dict[str, tuple[str | int, ...]] = {}

    def read(self) -> list[Entry]:
        top = self._mapping((), self._document.data, required=(), optional=("principals", "agents"))
        for section in ("principals", "agents"):
            for index, item in enumerate(self._list((section,), top.get(section, []))):
                self._entry((section, index), item, agent=section == "agents")
        self._check_owners()
        return list(self._entries.values())

    def _entry(self, path: tuple[str | int, ...], item: object, *, agent: bool) -> None:
        required = ("name", "owner") if agent else ("name",)
        fields = self._mapping(path, item, required=required, optional=("identities", "groups"))
        name = self._name((*path, "name"), fields["name"])
        if name in self._entries:
            self._document.fail(
                (*path, "name"), f"{name} is given twice", "names are unique over principals and agents"
            )
        owner: str | None = None
        if agent:
            owner = self._name((*path, "owner"), fields["owner"])
            self._owner_paths[name] = (*path, "owner")
            if "groups" in fields:
                self._document.fail((*path, "groups"), "agents have no groups", "put the group on a principal")
        groups = self._list((*path, "groups"), fields.get("groups", []))
        self._entries[name] = Entry(
            name=name,
            identities=self._identities((*path, "identities"), fields.get("identities", []), name),
            groups=tuple(sorted({self._name((*path, "groups", i), group) for i, group in enumerate(groups)})),
            owner=owner,
        )

    def _identities(self, path: tuple[str | int, ...], value: object, name: str) -> tuple[IdentityKey, ...]:
        found: list[IdentityKey] = []
        for index, item in enumerate(self._list(path, value)):
            here = (*path, index)
            fields = self._mapping(here, item, required=("iss", "sub"), optional=())
            key = IdentityKey(self._text((*here, "iss"), fields["iss"]), self._text((*here, "sub"), fields["sub"]))
            if key.iss == EXCHANGE_ISSUER:
                self._document.fail((*here, "iss"), f"{EXCHANGE_ISSUER} is this service's own", "leave it out")
            if key.iss == DEV_ISSUER:
                self._document.fail(
                    (*here, "iss"), f"{DEV_ISSUER} is reserved", "leave it out: --dev adds it by itself"
                )
            if key in self._seen:
                what = f"this identity already belongs to {self._seen[key]}"
                self._document.fail(here, what, "an identity belongs to one principal or agent")
            self._seen[key] = name
            found.append(key)
        if self._dev:
            found.append(IdentityKey(DEV_ISSUER, name))
        if not found:
            self._document.fail(path, f"{name} has no identity", "add at least one {iss: …, sub: …}")
        return tuple(found)

    def _check_owners(self) -> None:
        for name, path in self._owner_paths.items():
            seen = {name}
            owner = self._entries[name].owner
            while owner is not None:
                if owner not in self._entries:
                    near = get_close_matches(owner, sorted(self._entries), n=1)
                    fix = f"did you mean {near[0]}?" if near else "name a principal, or an agent that one owns"
                    self._document.fail(path, f"there is no {owner}", fix)
                if owner in seen:
                    self._document.fail(path, f"{owner} ends up owning itself", "let the chain end in a principal")
                seen.add(owner)
                owner = self._entries[owner].owner

    def _mapping(
        self, path: tuple[str | int, ...], value: object, *, required: Sequence[str], optional: Sequence[str]
    ) -> Mapping[str, object]:
        known = ", ".join((*required, *optional))
        if not isinstance(value, dict):
            self._document.fail(path, "is not a mapping", f"write a mapping with {known}")
        for key in value:
            if key not in required and key not in optional:
                self._document.fail((*path, key), "is not known here", f"the keys are {known}")
        for key in required:
            if key not in value:
                self._document.fail(path, f"{key} is missing", f"add {key}")
        return value

    def _list(self, path: tuple[str | int, ...], value: object) -> Sequence[object]:
        if not isinstance(value, list):
            self._document.fail(path, "is not a list", "write a list")
        return value

    def _text(self, path: tuple[str | int, ...], value: object) -> str:
        if not isinstance(value, str) or not value or len(value) > _MAX_TEXT:
            self._document.fail(path, "is not a text of 1 to 1024 characters", "put it in quotes")
        return value

    def _name(self, path: tuple[str | int, ...], value: object) -> str:
        if not isinstance(value, str) or not _NAME.match(value):
            what = "is not a name"
            self._document.fail(path, what, "use a-z, 0-9, '.', '_' and '-', first a letter or digit, at most 128")
        return value
