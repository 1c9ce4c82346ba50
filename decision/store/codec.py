"""Model values to the JSON in the store's columns, and back, strictly: an unreadable row is an error, no default."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import TypeVar

from decision.errors import StoreError
from decision.model import ActKey, IdentityKey, Party, Reason, Subject

T = TypeVar("T")


def identity_json(identity: IdentityKey) -> dict[str, object]:
    return {"iss": identity.iss, "sub": identity.sub}


def party_json(party: Party) -> dict[str, object]:
    return {
        **identity_json(party.identity),
        "name": party.name,
        "kind": party.kind,
        "owner": party.owner,
        "groups": list(party.groups),
    }


def subject_json(subject: Subject) -> dict[str, object]:
    return {
        "party": party_json(subject.party),
        "actors": [party_json(actor) for actor in subject.actors],
        "roles": list(subject.roles),
        "role": subject.role,
        "closure": list(subject.closure),
        "acting_closure": list(subject.acting_closure),
        "token_id": subject.token_id,
        "dev": subject.dev,
        "keys": list(subject.keys),
    }


def key_json(key: ActKey) -> dict[str, object]:
    return {
        "digest": b64encode(key.digest).decode(),
        "subject": identity_json(key.subject),
        "actors": [identity_json(actor) for actor in key.actors],
        "role": key.role,
        "connection": key.connection,
        **({"keys": list(key.keys)} if key.keys else {}),  # a bearer's act has the hash it had before keys counted
    }


def key_hash(key: ActKey) -> bytes:
    return _hash(key_json(key))


def identity_hash(identity: IdentityKey) -> bytes:
    return _hash(identity_json(identity))


def kind_hash(connection: str, subject: Subject) -> str:
    """Of all that policy is told of a live session: sessions of one kind are one to it."""
    return _hash([subject.role, connection, sorted(set(subject.closure))]).hex()


def _hash(document: object) -> bytes:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).digest()


def reasons_json(reasons: Sequence[Reason]) -> list[object]:
    return [{"rule": one.rule, "reason": one.reason, "next": one.next} for one in reasons]


def _as(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise StoreError(f"A row of the store is not readable: {kind.__name__} expected")
    return value


def _field(kind: type[T], value: object, name: str) -> T:
    return _as(kind, _mapping(value).get(name))


def _mapping(value: object) -> Mapping[str, object]:
    return _as(dict, value)


def strings(value: object) -> tuple[str, ...]:
    return tuple(_as(str, one) for one in _as(list, value))


def _identity(value: object) -> IdentityKey:
    return IdentityKey(_field(str, value, "iss"), _field(str, value, "sub"))


def _party(value: object) -> Party:
    return Party(
        identity=_identity(value),
        name=_field(str, value, "name"),
        kind=_field(str, value, "kind"),
        owner=_field(str, value, "owner"),
        groups=strings(_field(list, value, "groups")),
    )


def subject_of(value: object) -> Subject:
    return Subject(
        party=_party(_field(dict, value, "party")),
        actors=tuple(_party(actor) for actor in _field(list, value, "actors")),
        roles=strings(_field(list, value, "roles")),
        role=_field(str, value, "role"),
        closure=strings(_field(list, value, "closure")),
        acting_closure=strings(_field(list, value, "acting_closure")),
        token_id=_field(str, value, "token_id"),
        dev=_field(bool, value, "dev"),
        keys=_keys(value),
    )


def key_of(value: object) -> ActKey:
    try:
        digest = b64decode(_field(str, value, "digest"), validate=True)
    except ValueError as error:
        raise StoreError("A row of the store is not readable: a digest expected") from error
    return ActKey(
        digest=digest,
        subject=_identity(_field(dict, value, "subject")),
        actors=tuple(_identity(actor) for actor in _field(list, value, "actors")),
        role=_field(str, value, "role"),
        connection=_field(str, value, "connection"),
        keys=_keys(value),
    )


def _keys(value: object) -> tuple[str, ...]:
    """None in rows that were written before keys counted: then nothing that is bound to one is found by them."""
    return strings(_mapping(value).get("keys", []))


def reasons_of(value: object) -> tuple[Reason, ...]:
    return tuple(
        Reason(_field(str, one, "rule"), _field(str, one, "reason"), _field(str, one, "next"))
        for one in _as(list, value)
    )
