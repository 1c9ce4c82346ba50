"""Proofs that were used, one-time passwords, and revocations."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from decision.errors import StateError, StoreError, TokenError
from decision.model import IdentityKey, VerifiedToken, token_key
from decision.ports import Grant
from decision.store.engine import Store, open_store
from decision.store.tokens import SqlTokens
from tests.decision.store.support import ManualClock


def key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def token(clock: ManualClock, token_id: str = "t1") -> VerifiedToken:
    return VerifiedToken(
        identity=IdentityKey("https://idp.example", "s1"),
        actors=(IdentityKey("https://idp.example", "a1"),),
        roles=("executor",),
        expires=clock.now() + timedelta(hours=1),
        token_id=token_id,
        dev=False,
        issuer="https://idp.example",
        issued=clock.now(),
        scopes=("twokey:crm:execute",),
        scoped=True,
        client="agents",
        transactions=(("https://idp.example", "T"), ("https://idp.example", "U")),
    )


def grant(clock: ManualClock, *, address: str = "", uses: int = 1) -> Grant:
    return Grant(token=token(clock), connection="crm", role="executor", address=address, uses=uses)


async def refused(store: Store, password: str = "p", **fields: str) -> str:
    wanted = {"connection": "crm", "role": "executor", "address": "", **fields}
    with pytest.raises(TokenError) as caught:
        await store.tokens.redeem(key(password), **wanted)
    return caught.value.code


async def test_a_proof_is_spent_once(store: Store, clock: ManualClock) -> None:
    won = await asyncio.gather(*(store.tokens.spend(key("a"), seconds=60) for _ in range(8)))
    assert sorted(won) == [False] * 7 + [True]
    clock.pass_(59)
    assert not await store.tokens.spend(key("a"), seconds=60)
    clock.pass_(2)
    assert await store.tokens.spend(key("a"), seconds=60)


async def test_t15_a_proof_is_spent_for_every_replica_and_after_a_restart(
    store: Store, url: str, clock: ManualClock
) -> None:
    assert await store.tokens.spend(key("a"), seconds=60)
    other = await open_store(url, clock=clock)
    assert not await other.tokens.spend(key("a"), seconds=60)
    assert await other.tokens.spend(key("b"), seconds=60)
    await other.close()
    assert not await store.tokens.spend(key("b"), seconds=60)


async def test_dp_15_a_full_store_refuses_and_forgets_nothing(store: Store, clock: ManualClock) -> None:
    small = SqlTokens(store.tokens._database, max_proofs=10)  # type: ignore[attr-defined] # the port hides it
    for number in range(10):
        assert await small.spend(key(str(number)), seconds=60)
    with pytest.raises(StoreError, match="full"):
        await small.spend(key("more"), seconds=60)
    assert not await small.spend(key("0"), seconds=60)
    clock.pass_(61)
    assert await small.spend(key("more"), seconds=60)


async def test_a_password_comes_back_as_its_token(store: Store, clock: ManualClock) -> None:
    await store.tokens.grant(key("p"), grant(clock), seconds=60)
    found = await store.tokens.redeem(key("p"), connection="crm", role="executor", address="10.0.0.1")
    assert found == token(clock)
    assert await refused(store) == "TOKEN_USED"


async def test_one_token_can_not_take_them_all(store: Store, clock: ManualClock) -> None:
    small = SqlTokens(store._database, max_of_one=2)
    for name in ("a", "b"):
        await small.grant(key(name), grant(clock), seconds=60)
    with pytest.raises(StateError) as caught:
        await small.grant(key("c"), grant(clock), seconds=60)
    assert caught.value.code == "CREDENTIAL_LIMIT"
    other = replace(grant(clock), token=replace(token(clock), token_id="other"))
    await small.grant(key("d"), other, seconds=60)
    clock.pass_(61)
    await small.grant(key("c"), grant(clock), seconds=60)


async def test_a_certificate_is_no_password_and_outlives_its_tokens_revocation(
    store: Store, clock: ManualClock
) -> None:
    """The list of those revoked is made of it."""
    await store.tokens.grant(key("ssh:1"), grant(clock, uses=0), seconds=300)
    await store.tokens.grant(key("p"), grant(clock), seconds=60)
    assert await refused(store, "ssh:1") == "TOKEN_USED"
    cut = token_key(token(clock).issuer, token(clock).token_id).hex()
    await store.tokens.cut("token", [cut], "stolen")
    assert [one.token for one in await store.tokens.certified()] == [token(clock)]
    assert await refused(store) == "TOKEN_USED"


async def test_a_password_of_many_uses_is_used_so_often(store: Store, clock: ManualClock) -> None:
    await store.tokens.grant(key("p"), grant(clock, uses=3), seconds=60)

    async def use() -> bool:
        try:
            await store.tokens.redeem(key("p"), connection="crm", role="executor", address="")
        except TokenError:
            return False
        return True

    assert sum(await asyncio.gather(*(use() for _ in range(9)))) == 3


@pytest.mark.parametrize("wrong", [{"connection": "erp"}, {"role": "planner"}])
async def test_t28_a_password_for_something_else(store: Store, clock: ManualClock, wrong: dict[str, str]) -> None:
    await store.tokens.grant(key("p"), grant(clock), seconds=60)
    assert await refused(store, **wrong) == "TOKEN_USED"
    assert await refused(store, "q") == "TOKEN_USED"
    assert await store.tokens.redeem(key("p"), connection="crm", role="executor", address="")


async def test_t28_a_password_seen_at_another_address_is_nobodys(store: Store, clock: ManualClock) -> None:
    await store.tokens.grant(key("p"), grant(clock, address="10.0.0.1"), seconds=60)
    assert await refused(store, address="10.0.0.2") == "TOKEN_USED"
    assert await refused(store, address="10.0.0.1") == "TOKEN_USED"


async def test_t28_a_password_after_its_minute(store: Store, clock: ManualClock) -> None:
    await store.tokens.grant(key("p"), grant(clock), seconds=60)
    clock.pass_(60)
    assert await refused(store) == "TOKEN_USED"


async def test_a_cut_token_takes_what_came_of_it_with_it(store: Store, clock: ManualClock) -> None:
    parent, child, grandchild, other = (token_key("i", name).hex() for name in ("p", "c", "g", "o"))
    await store.tokens.descend(child, [parent, other], seconds=600)
    await store.tokens.descend(grandchild, [child], seconds=600)
    assert set(await store.tokens.cut("token", [parent], "stolen")) == {parent, child, grandchild}
    found = await store.tokens.cuts({"token": [grandchild, other], "party": ["alice"]})
    assert [(cut.value, cut.reason, cut.before) for cut in found] == [(grandchild, "stolen", clock.now())]


async def test_a_cut_token_takes_its_passwords_with_it(store: Store, clock: ManualClock) -> None:
    await store.tokens.grant(key("p"), grant(clock), seconds=60)
    await store.tokens.cut("token", [token_key("https://idp.example", "t1").hex()], "stolen")
    assert await refused(store) == "TOKEN_USED"


async def test_cuts_of_every_kind_are_found_at_once_and_of_no_other(store: Store) -> None:
    for kind in ("token", "party", "role"):
        await store.tokens.cut(kind, ["aa"], kind)
    assert await store.tokens.cuts({"token": [], "party": [], "role": []}) == ()
    assert [cut.kind for cut in await store.tokens.cuts({"role": ["aa"], "token": ["bb"]})] == ["role"]
    every = await store.tokens.cuts({kind: ["aa", "bb"] for kind in ("role", "party", "token")})
    assert {(cut.kind, cut.value, cut.reason) for cut in every} == {(k, "aa", k) for k in ("token", "party", "role")}
    with pytest.raises(StoreError, match="nobody looks for"):
        await store.tokens.cuts({"host": ["aa"]})


async def test_cuts_are_renewed_and_end(store: Store, clock: ManualClock) -> None:
    await store.tokens.cut("party", ["alice"], "left")
    clock.pass_(5)
    await store.tokens.cut("party", ["alice"], "left again")
    (found,) = await store.tokens.cuts({"party": ["alice", "bob"], "role": []})
    assert (found.before, found.reason) == (clock.now(), "left again")
    clock.pass_(32 * 86_400)
    await store.tokens.cut("role", ["executor"], "x")
    assert await store.tokens.cuts({"party": ["alice"]}) == []
