"""decision.identity.standing: what a revocation takes a token's standing from. The store is the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from decision.errors import TokenError
from decision.identity.documents import parse
from decision.identity.people import read_people
from decision.identity.standing import Standing
from decision.model import IdentityKey, VerifiedToken, token_key
from decision.store.engine import Store, open_store

PEOPLE = b"principals: [{name: alice, identities: [{iss: i, sub: a}]}]"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{tmp_path / 'db'}")
    yield store
    await store.close()


def token(issued: datetime) -> VerifiedToken:
    return VerifiedToken(
        identity=IdentityKey("i", "a"),
        actors=(),
        roles=("planner",),
        expires=datetime.now(UTC) + timedelta(hours=1),
        token_id="t",
        dev=False,
        issued=issued,
        issuer="idp",
    )


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("party", "alice", "the token was revoked: gone"),
        ("token", token_key("idp", "t").hex(), "the token was revoked: gone"),
        ("role", "planner", "the role was revoked: gone"),
        ("role", "executor", ""),
        ("party", "planner", ""),
    ],
)
async def test_a_role_is_judged_with_the_rest_where_it_is_activated(
    store: Store, kind: str, value: str, told: str
) -> None:
    standing, people = Standing(store.tokens), read_people(parse(PEOPLE, "people.yaml"), dev=False)
    old = token(datetime.now(UTC) - timedelta(minutes=1))
    await standing.check(old, people, role="planner")
    await store.tokens.cut(kind, [value], "gone")
    if not told:
        await standing.check(old, people, role="planner")
        return
    with pytest.raises(TokenError, match=told) as caught:
        await standing.check(old, people, role="planner")
    assert caught.value.code == "TOKEN_REVOKED"
    if kind == "role":
        await standing.check(old, people)  # where no role is activated none is judged
        await standing.check(token(datetime.now(UTC) + timedelta(minutes=1)), people, role="planner")  # issued since
