"""people.yaml, and the closures that duty rules compare."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import PolicyLoadError
from decision.identity.documents import parse
from decision.identity.people import DEV_ISSUER, PeopleBook, read_people, spell_identity
from decision.model import IdentityKey, VerifiedToken

IDP = "https://idp.example"
TEXT = f"""
principals:
  - {{name: alice, identities: [{{iss: {IDP}, sub: a1}}, {{iss: "slack:T1", sub: U1}}], groups: [dba, ops]}}
  - {{name: bob, identities: [{{iss: {IDP}, sub: b1}}]}}
agents:
  - {{name: planner-1, identities: [{{iss: {IDP}, sub: p1}}], owner: alice}}
  - {{name: helper, identities: [{{iss: {IDP}, sub: h1}}], owner: planner-1}}
  - {{name: executor-7, identities: [{{iss: {IDP}, sub: e7}}], owner: bob}}
"""


def book(text: str = TEXT, *, dev: bool = False) -> PeopleBook:
    return read_people(parse(text.encode(), "people.yaml"), dev=dev)


def key(sub: str, iss: str = IDP) -> IdentityKey:
    return IdentityKey(iss, sub)


def token(subject: IdentityKey, *actors: IdentityKey) -> VerifiedToken:
    return VerifiedToken(
        identity=subject,
        actors=actors,
        roles=("planner", "reader"),
        expires=datetime(2030, 1, 1, tzinfo=UTC),
        token_id="t",
        dev=False,
    )


def test_parties() -> None:
    people = book()
    alice = people.party(key("a1"))
    assert (alice.name, alice.kind, alice.owner, alice.groups) == ("alice", "person", "", ("dba", "ops"))
    assert people.party(key("U1", "slack:T1")).name == "alice"
    helper = people.party(key("h1"))
    assert (helper.name, helper.kind, helper.owner, helper.groups) == ("helper", "agent", "planner-1", ())
    stranger = people.party(key("a1", "https://other.example"))
    assert (stranger.name, stranger.kind, stranger.owner) == ("", "unknown", "")
    assert people.party(key("alice")).kind == "unknown"


def test_by_name_is_the_first_identity() -> None:
    people = book()
    found = people.by_name("alice")
    assert found is not None
    assert found.identity == key("a1")
    assert people.by_name("nobody") is None
    assert people.by_name("a1") is None


def test_closure_holds_everyone_and_their_owners() -> None:
    subject = book().subject(token(key("b1"), key("h1"), key("e7")), role="planner")
    assert subject.closure == ("alice", "bob", "executor-7", "helper", "planner-1")
    assert subject.acting_closure == ("alice", "helper", "planner-1")
    assert [actor.name for actor in subject.actors] == ["helper", "executor-7"]
    assert (subject.roles, subject.role, subject.token_id) == (("planner", "reader"), "planner", "t")


def test_without_actors_the_subject_acts() -> None:
    subject = book().subject(token(key("p1")), role="")
    assert subject.closure == subject.acting_closure == ("alice", "planner-1")


def test_linked_identities_are_one_principal() -> None:
    people = book()
    one = people.subject(token(key("a1")), role="").closure
    assert one == people.subject(token(key("U1", "slack:T1")), role="").closure == ("alice",)


def test_strangers_stand_for_themselves_and_imitate_nobody() -> None:
    stranger = book().subject(token(IdentityKey("alice", "alice"), IdentityKey('x","y', "z")), role="")
    assert stranger.closure == ('["alice","alice"]', r'["x\",\"y","z"]')
    assert spell_identity(key("ü")) == f'["{IDP}","ü"]'


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_two_identities_are_never_spelt_alike(a: str, b: str, c: str, d: str) -> None:
    one, other = IdentityKey(a, b), IdentityKey(c, d)
    assert (spell_identity(one) == spell_identity(other)) == (one == other)
    assert json.loads(spell_identity(one)) == [a, b]


identities = st.sampled_from(["a1", "b1", "p1", "h1", "e7", "x1", "x2"]).map(key)


@given(identities, st.lists(identities, max_size=5), st.lists(identities, max_size=4))
def test_adding_actors_never_shrinks_the_closure(
    subject: IdentityKey, actors: list[IdentityKey], more: list[IdentityKey]
) -> None:
    people = book()
    before = people.subject(token(subject, *actors), role="")
    after = people.subject(token(subject, *more, *actors), role="")
    assert set(before.closure) <= set(after.closure)
    assert set(after.acting_closure) <= set(after.closure)
    assert list(after.closure) == sorted(set(after.closure))


def test_t22_who_takes_part_in_one_transaction_stands_behind_one_thing() -> None:
    """And an identity is never taken for a transaction, nor one issuer's transaction for another's."""
    people = book()
    planner = people.subject(replace(token(key("p1")), transactions=((IDP, "T"),)), role="")
    executor = people.subject(replace(token(key("e7")), transactions=((IDP, "T"), (IDP, "U"))), role="")
    assert set(planner.closure) & set(executor.closure) == {f'txn:["{IDP}","T"]'}
    assert not set(planner.acting_closure) & set(executor.acting_closure)
    elsewhere = people.subject(replace(token(key("e7")), transactions=(("https://other.example", "T"),)), role="")
    assert not set(planner.closure) & set(elsewhere.closure)
    imitated = people.subject(token(key("T"), IdentityKey('txn:["', IDP)), role="")
    assert not set(planner.closure) & set(imitated.closure)


def test_dev_adds_one_identity_to_each_name() -> None:
    people = book(dev=True)
    assert people.party(key("alice", DEV_ISSUER)).name == "alice"
    assert people.party(key("executor-7", DEV_ISSUER)).kind == "agent"
    assert book().party(key("alice", DEV_ISSUER)).kind == "unknown"
    bare = book("principals: [{name: carol}]\n", dev=True).by_name("carol")
    assert bare is not None
    assert bare.identity == key("carol", DEV_ISSUER)


def test_what_rego_reads() -> None:
    document = book().document()
    assert document["principals"][0] == {  # type: ignore[index]
        "name": "alice",
        "identities": [{"iss": IDP, "sub": "a1"}, {"iss": "slack:T1", "sub": "U1"}],
        "groups": ["dba", "ops"],
    }
    assert document["agents"][1]["owner"] == "planner-1"  # type: ignore[index]


ONE = "identities: [{iss: i, sub: s}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mapping"),
        ("people: []\n", r"people\.yaml:1: people: is not known here; the keys are principals, agents"),
        ("principals: {}\n", "is not a list"),
        ("principals: [alice]\n", "is not a mapping"),
        (f"principals:\n  - {{{ONE}}}\n", r"people\.yaml:2: principals\[0\]: name is missing; add name"),
        (f"principals: [{{name: Alice, {ONE}}}]\n", "is not a name"),
        (f'principals: [{{name: "a b", {ONE}}}]\n', "is not a name"),
        (f'principals: [{{name: "[a]", {ONE}}}]\n', "is not a name"),
        (f'principals: [{{name: "alice\\n", {ONE}}}]\n', "is not a name"),
        (f"principals: [{{name: аlice, {ONE}}}]\n", "is not a name"),  # a Cyrillic letter
        (f"principals: [{{name: 1, {ONE}}}]\n", "is not a name"),
        (f"principals: [{{name: a, {ONE}, owner: b}}]\n", "owner: is not known here"),
        ("principals: [{name: a}]\n", "a has no identity"),
        ("principals: [{name: a, identities: [{iss: i}]}]\n", "sub is missing"),
        ("principals: [{name: a, identities: [{iss: i, sub: 1}]}]\n", "is not a text"),
        ("principals: [{name: a, identities: [{iss: i, sub: ''}]}]\n", "is not a text"),
        (f"principals: [{{name: a, identities: [{{iss: {DEV_ISSUER}, sub: b}}]}}]\n", "is reserved"),
        (
            f"principals:\n  - {{name: a, {ONE}}}\n  - {{name: b, {ONE}}}\n",
            r"people\.yaml:3: principals\[1\]\.identities\[0\]: this identity already belongs to a",
        ),
        (
            f"principals: [{{name: a, {ONE}}}]\nagents: [{{name: a, identities: [{{iss: i, sub: t}}], owner: a}}]\n",
            "a is given twice",
        ),
        (f"agents: [{{name: a, {ONE}}}]\n", "owner is missing"),
        (f"agents:\n  - {{name: a, {ONE}, owner: b}}\n", r"people\.yaml:2: agents\[0\]\.owner: there is no b"),
        (f"agents: [{{name: a, {ONE}, owner: a}}]\n", "a ends up owning itself"),
        (
            f"agents: [{{name: a, {ONE}, owner: b}}, {{name: b, identities: [{{iss: i, sub: t}}], owner: a}}]\n",
            "ends up owning itself",
        ),
        (f"agents: [{{name: a, {ONE}, owner: b, groups: [dba]}}]\n", "agents have no groups"),
        (f"principals: [{{name: a, {ONE}, groups: dba}}]\n", "is not a list"),
        (f"principals: [{{name: a, {ONE}, groups: [DBA]}}]\n", "is not a name"),
    ],
)
def test_every_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message) as caught:
        book(text)
    assert caught.value.next_step
    assert str(caught.value).startswith("people.yaml")


def test_a_long_chain_of_owners_is_walked() -> None:
    rows = ["principals: [{name: p, identities: [{iss: i, sub: p}]}]", "agents:"]
    rows += [
        f"  - {{name: a{n}, identities: [{{iss: i, sub: a{n}}}], owner: {'p' if n == 0 else f'a{n - 1}'}}}"
        for n in range(200)
    ]
    subject = book("\n".join(rows)).subject(token(key("a199", "i")), role="")
    assert len(subject.closure) == 201
    assert "p" in subject.acting_closure


def test_an_owner_that_is_misspelt_is_refused_with_who_was_meant() -> None:
    text = b"""principals:
  - {name: alice, identities: [{iss: i, sub: a}]}
agents:
  - {name: robot, identities: [{iss: i, sub: r}], owner: alcie}
"""
    with pytest.raises(PolicyLoadError, match=r"^people.yaml:4: .*there is no alcie; did you mean alice\?"):
        read_people(parse(text, "people.yaml"), dev=False)
