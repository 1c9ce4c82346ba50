from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import StoreError
from decision.model import ActKey, IdentityKey, Party, Reason, Subject
from decision.store.codec import key_hash, key_json, key_of, reasons_json, reasons_of, subject_json, subject_of

text = st.text(max_size=8)
texts = st.lists(text, max_size=3).map(tuple)
identities = st.builds(IdentityKey, text, text)
parties = st.builds(Party, identity=identities, name=text, kind=text, owner=text, groups=texts)
subjects = st.builds(
    Subject,
    party=parties,
    actors=st.lists(parties, max_size=3).map(tuple),
    roles=texts,
    role=text,
    closure=texts,
    acting_closure=texts,
    token_id=text,
    dev=st.booleans(),
    keys=texts,
)
keys = st.builds(
    ActKey,
    digest=st.binary(min_size=0, max_size=4),
    subject=identities,
    actors=st.lists(identities, max_size=2).map(tuple),
    role=st.text("ab|\"',", max_size=3),
    connection=st.text("ab|\"',", max_size=3),
    keys=st.lists(st.text("ab|\"',", max_size=3), max_size=2).map(tuple),
)


@given(subjects)
def test_a_subject_survives_json(one: Subject) -> None:
    assert subject_of(json.loads(json.dumps(subject_json(one)))) == one


@given(st.lists(st.builds(Reason, text, text, text), max_size=3).map(tuple))
def test_reasons_survive_json(some: tuple[Reason, ...]) -> None:
    assert reasons_of(json.loads(json.dumps(reasons_json(some)))) == some


@given(keys, keys)
def test_keys_survive_json_and_only_equal_ones_hash_alike(one: ActKey, other: ActKey) -> None:
    assert key_of(json.loads(json.dumps(key_json(one)))) == one
    assert (key_hash(one) == key_hash(other)) == (one == other)


def without_each(document: dict[str, Any]) -> list[dict[str, Any]]:
    """But for the keys it is bound to, which rows of former versions don't have: without them it is bound to none."""
    left_out = document.keys() - {"keys"}
    return [{key: value for key, value in document.items() if key != out} for out in sorted(left_out)]


def test_a_row_without_keys_is_bound_to_none() -> None:
    key = ActKey(digest=b"d", subject=IdentityKey("i", "s"), actors=(), role="r", connection="c", keys=("jkt:a",))
    document = key_json(key)
    del document["keys"]
    assert key_of(document) == replace(key, keys=()) != key
    assert key_hash(replace(key, keys=())) != key_hash(key)
    with pytest.raises(StoreError):
        key_of({**document, "keys": "jkt:a"})


@given(subjects, keys)
def test_nothing_missing_is_filled_in(one: Subject, key: ActKey) -> None:
    for document in without_each(subject_json(one)):
        with pytest.raises(StoreError):
            subject_of(document)
    for document in without_each(key_json(key)):
        with pytest.raises(StoreError):
            key_of(document)


@pytest.mark.parametrize("dev", [0, 1, "false", None])
def test_what_is_no_boolean_is_not_read_as_one(dev: object) -> None:
    document = subject_json(
        Subject(
            party=Party(identity=IdentityKey("i", "s"), name="", kind="unknown", owner="", groups=()),
            actors=(),
            roles=(),
            role="",
            closure=(),
            acting_closure=(),
            token_id="",
            dev=True,
        )
    )
    with pytest.raises(StoreError):
        subject_of({**document, "dev": dev})
