"""Claims, for any input. test_tokens.py holds the abuses one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import TokenError
from decision.identity.claims import MAX_ACTORS, ClaimRules, read_claims

NOW = 1_800_000_000.0
RULES = ClaimRules(issuer="i", audience="twokey", roles_claim="groups", role_map={"a": "planner"})
GOOD: dict[str, object] = {
    "iss": "i",
    "aud": ["twokey"],
    "sub": "s",
    "client_id": "c",
    "jti": "j",
    "iat": NOW,
    "exp": NOW + 60,
    "groups": ["a"],
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["iss", "sub", "act", "x"]), inner),
    max_leaves=8,
)


def test_the_good_one() -> None:
    assert read_claims(GOOD, RULES, now=NOW).roles == ("planner",)


@pytest.mark.parametrize(
    ("now", "code"), [(NOW + 89.9, ""), (NOW + 90, "TOKEN_EXPIRED"), (NOW - 30, ""), (NOW - 30.1, "TOKEN_NOT_YET")]
)
def test_the_leeway_to_the_second(now: float, code: str) -> None:
    found = ""
    try:
        read_claims(GOOD, RULES, now=now)
    except TokenError as error:
        found = error.code
    assert found == code


@given(st.dictionaries(st.sampled_from([*GOOD, "act", "nbf", "cnf"]), anything, min_size=1))
def test_anything_in_a_claim_is_refused_or_harmless(changes: dict[str, object]) -> None:
    try:
        verified = read_claims(GOOD | changes, RULES, now=NOW)
    except TokenError:
        return
    assert verified.identity.iss == "i"
    assert set(verified.roles) <= {"planner"}
    assert len(verified.actors) <= MAX_ACTORS
    assert len({verified.identity, *verified.actors}) == len(verified.actors) + 1
