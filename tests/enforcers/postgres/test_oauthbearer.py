"""OAUTHBEARER byte for byte, as PostgreSQL 18 speaks it (RFC 7628)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import ProtocolError
from enforcers.postgres import oauthbearer


def response(data: bytes, *, mechanism: bytes = b"OAUTHBEARER", length: int | None = None) -> bytes:
    body = mechanism + b"\0" + struct.pack("!i", len(data) if length is None else length) + data
    return b"p" + struct.pack("!I", len(body) + 4) + body


def test_the_offer_byte_for_byte() -> None:
    assert oauthbearer.OFFER == b"R\x00\x00\x00\x15\x00\x00\x00\x0aOAUTHBEARER\x00\x00"


def test_a_token() -> None:
    """The example of RFC 7628, section 4.1, without its host and port, and with them."""
    plain = b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    assert oauthbearer.first(response(plain)).token == "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    hosted = b"n,,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9d==\x01\x01"
    assert oauthbearer.first(response(hosted)).token == "vF9d=="
    assert oauthbearer.first(response(b"y,,\x01auth=bearer   a.b.c\x01\x01")).token == "a.b.c"


def test_a_client_that_asks_where_tokens_come_from() -> None:
    assert oauthbearer.first(response(b"n,,\x01auth=\x01\x01")).token == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"n,,",
        b"n,,\x01",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer x\x01",
        b"n,,\x01auth=Bearer x",
        b"n,,\x01auth=Bearer x\x01\x01\x01x",
        b"n,a=admin,\x01auth=Bearer x\x01\x01",
        b"p=tls-exporter,,\x01auth=Bearer x\x01\x01",
        b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
        b"n,,\x01auth=Basic x\x01\x01",
        b"n,,\x01auth=Bearer\x01\x01",
        b"n,,\x01auth=Bearer x y\x01\x01",
        b"n,,\x01auth=Bearer x\n\x01\x01",
        b"n,,\x01auth=Bearer \xff\x01\x01",
        b"n,,\x01au\0th=Bearer x\x01\x01",
        b"n,,\x01=x\x01\x01",
        b"n,,\x01host=x\x01\x01",
    ],
)
def test_messages_that_are_none(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        oauthbearer.first(response(data))


def test_another_mechanism_or_a_wrong_length() -> None:
    good = b"n,,\x01auth=Bearer x\x01\x01"
    for raw in (
        response(good, mechanism=b"SCRAM-SHA-256"),
        response(good, length=-1),
        response(good, length=3),
        response(good, length=2**31 - 1),
        response(b"", length=-1),
        b"p\0\0\0\x10OAUTHBEARER\0",
        b"p\0\0\0\x0fOAUTHBEARER",
    ):
        with pytest.raises(ProtocolError):
            oauthbearer.first(raw)


def test_a_refusal_byte_for_byte() -> None:
    said = oauthbearer.challenge(configuration="https://idp.example/.well-known/openid-configuration")
    body = b'{"status":"invalid_token","openid-configuration":"https://idp.example/.well-known/openid-configuration"}'
    assert said == b"R" + struct.pack("!II", len(body) + 8, 11) + body
    assert oauthbearer.challenge(configuration="")[9:] == b'{"status":"invalid_token"}'
    assert oauthbearer.is_acknowledged(b"p\0\0\0\x05\x01")
    assert not oauthbearer.is_acknowledged(b"p\0\0\0\x06\x01\x01")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_token_or_a_refusal(data: bytes) -> None:
    try:
        found = oauthbearer.first(response(data))
    except ProtocolError:
        return
    assert found.token.isascii()
