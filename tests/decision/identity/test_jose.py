"""Taking tokens apart. test_tokens.py holds the abuses; here is what must hold for any input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import TokenError
from decision.identity.jose import ALGORITHMS, read_key, read_token, strict_object
from tests.decision.identity.support import EC, OKP, RSA, b64, public

segments = st.text(alphabet='abcXYZ019-_=.{}"\n é', max_size=30)


@given(st.lists(segments, min_size=1, max_size=4).map(".".join) | st.binary(max_size=60).map(b64))
def test_any_text_is_refused_with_a_token_error(text: str) -> None:
    with pytest.raises(TokenError):
        read_token(text)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_strict_json_reads_what_any_reader_reads(value: dict[str, object]) -> None:
    assert strict_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_a_value_error(content: bytes) -> None:
    try:
        found: object = strict_object(content)
    except ValueError:
        found = {}
    assert isinstance(found, dict)


@given(values)
def test_any_json_is_no_key(value: object) -> None:
    assert read_key(value) is None


@pytest.mark.parametrize("key", [RSA, EC, OKP])
def test_a_key_fits_its_own_algorithms_only(key: object) -> None:
    read = read_key(public(key, "k"))  # type: ignore[arg-type]
    assert read is not None
    kid, found = read
    assert kid == "k"
    assert {alg for alg in ALGORITHMS if found.fits(alg)} == {
        alg for alg, kind in ALGORITHMS.items() if kind == (found.kty, found.crv)
    }
    assert not found.fits("none")
    assert not found.fits("HS256")


def test_the_private_half_is_never_kept() -> None:
    read = read_key({**EC.as_dict(private=True), "kid": "k"})
    assert read is not None
    assert not read[1].key.is_private
