"""Whom a gateway takes for the decision service: by its SPIFFE ID or its host name, exactly."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from enforcers.core.svid import StrangerError, check_service
from tests.pki import Authority, Pair, address, host, uri, usage

NAME = "spiffe://example.org/decision"
HOST = "decision.example.org"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("spire")


def der(pair: Pair) -> bytes:
    return pair.certificate.public_bytes(Encoding.DER)


def test_the_service_itself(authority: Authority) -> None:
    check_service(der(authority.leaf(uri(NAME))), NAME)
    check_service(der(authority.leaf(uri(NAME), host("other.example.org"))), NAME)
    check_service(der(authority.leaf(host("x.example.org"), host(HOST), no_usage=True)), HOST)
    check_service(der(authority.leaf(uri("spiffe://example.org/anything"), host(HOST))), HOST)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([uri("spiffe://example.org/other")], NAME),
        ([uri("spiffe://example.org/Decision")], NAME),
        ([uri("spiffe://other.org/decision")], NAME),
        ([uri("spiffe://example.org/x/../decision")], NAME),
        ([uri(NAME), uri("spiffe://example.org/other")], NAME),
        ([host("spiffe://example.org/decision")], NAME),
        ([], NAME),
        ([host("other.example.org")], HOST),
        ([host("*.example.org")], HOST),
        ([host("DECISION.example.org")], HOST),
        ([host(f"{HOST}.")], HOST),
        ([host(f"x.{HOST}")], HOST),
        ([uri(f"spiffe://{HOST}/x")], HOST),
        ([x509.RFC822Name(f"a@{HOST}")], HOST),
        ([address("127.0.0.1")], HOST),
        ([], HOST),
    ],
)
def test_wrong_names(authority: Authority, names: list[x509.GeneralName], expected: str) -> None:
    common = expected if not expected.startswith("spiffe") else "decision"
    with pytest.raises(StrangerError, match="its certificate is"):
        check_service(der(authority.leaf(*names, common_name=common)), expected)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"ca": True}, "an authority's"),
        ({"usage": usage(key_cert_sign=True)}, "for signing certificates"),
        ({"usage": usage(digital_signature=False)}, "not for signing in TLS"),
        ({"no_usage": True}, "what its key is for"),
        ({"purposes": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "not for servers"),
    ],
)
def test_wrong_kinds(authority: Authority, how: dict[str, object], why: str) -> None:
    with pytest.raises(StrangerError, match=why):
        check_service(der(authority.leaf(uri(NAME), **how)), NAME)  # type: ignore[arg-type]  # a table's


def test_what_is_no_certificate() -> None:
    with pytest.raises(StrangerError, match="can't be read"):
        check_service(b"text", NAME)
