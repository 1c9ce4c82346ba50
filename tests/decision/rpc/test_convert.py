"""What callers are told about a party: who it is, what kind, and who answers for it."""

from __future__ import annotations

import pytest

from decision.model import IdentityKey, Party, Subject
from decision.rpc import convert


def _party(name: str, kind: str, owner: str) -> Party:
    return Party(identity=IdentityKey("urn:i", name or "x"), name=name, kind=kind, owner=owner, groups=())


@pytest.mark.parametrize(
    ("name", "kind", "owner"), [("executor-7", "agent", "alice"), ("alice", "person", ""), ("", "unknown", "")]
)
def test_an_identity_says_kind_and_owner_of_subject_and_actors(name: str, kind: str, owner: str) -> None:
    subject = Subject(
        party=_party("alice", "person", ""),
        actors=(_party(name, kind, owner),),
        roles=("executor",),
        role="executor",
        closure=(),
        acting_closure=(),
        token_id="t",
        dev=True,
    )
    message = convert.subject(subject)
    assert (message.identity.name, message.identity.kind, message.identity.owner) == ("alice", "person", "")
    assert [(actor.name, actor.kind, actor.owner) for actor in message.actors] == [(name, kind, owner)]
