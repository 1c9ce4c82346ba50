"""attacks.md T27 and its neighbours: whom a certificate names, and who is named by nothing."""

from __future__ import annotations

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from decision.identity.svid import (
    Bundle,
    CertificateError,
    host_name,
    read_bundle,
    read_certificate,
    read_chain,
    read_leaf,
    spiffe_id,
)
from enforcers.core.svid import is_name, is_spiffe_id
from tests.pki import Authority, host, uri, usage

GOOD = ("spiffe://example.org/gw", "spiffe://a_b-c.1/x/Y/z_1-2.3", "spiffe://td/...", "spiffe://td/.x")
# T27: another spelling is another name, and most are none.
BAD = (
    "spiffe://example.org/a/../admin",
    "spiffe://example.org/./admin",
    "spiffe://example.org/..",
    "spiffe://example.org/%61dmin",
    "spiffe://example.org/a%2fb",
    "spiffe://example.org//admin",
    "spiffe://example.org/admin/",
    "spiffe://example.org/",
    "spiffe://example.org",
    "spiffe:///admin",
    "spiffe://EXAMPLE.org/admin",
    "SPIFFE://example.org/admin",
    "spiffe://example.org:8443/admin",
    "spiffe://user@example.org/admin",
    "spiffe://example.org/admin?x=1",
    "spiffe://example.org/admin#x",
    "spiffe://example.org/ädmin",
    "spiffe://example.org/ad min",
    "spiffe://example.org/admin\n",
    "spiffe://example.org/*",
    "https://example.org/admin",
    "spiffe:example.org/admin",
    "",
    f"spiffe://{'a' * 256}/x",
    f"spiffe://td/{'a' * 2048}",
)


@pytest.mark.parametrize("text", GOOD)
def test_t27_ids_that_are_ids(text: str) -> None:
    assert spiffe_id(text) == text
    assert is_spiffe_id(text)
    assert is_name(text)


@pytest.mark.parametrize("text", BAD)
def test_t27_path_tricks_and_other_spellings_are_no_ids(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no"):
        spiffe_id(text)
    assert not is_spiffe_id(text)


@given(st.text(alphabet="aA./%:*-_ \n", max_size=30))
def test_both_sides_read_ids_alike(text: str) -> None:
    text = "spiffe://" + text
    try:
        spiffe_id(text)
    except ValueError:
        assert not is_spiffe_id(text)
    else:
        assert is_spiffe_id(text)


@pytest.mark.parametrize(
    "text", ["*.example.org", "Gw.example.org", "gw..org", "-gw.org", "gw.org.", "gw_1.org", "gw.org\n", ""]
)
def test_a_hosts_name_is_exact(text: str) -> None:
    with pytest.raises(ValueError, match="wildcards"):
        host_name(text)
    assert not is_name(text)
    assert host_name("gw-1.example.org") == "gw-1.example.org"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("spire")


def test_an_svid_names_by_its_id_alone(authority: Authority) -> None:
    pair = authority.leaf(uri("spiffe://example.org/gw"), host("gw.example.org"), common_name="admin")
    leaf = read_leaf(pair.certificate)
    assert (leaf.spiffe, leaf.hosts) == ("spiffe://example.org/gw", frozenset())
    assert leaf.named == "spiffe://example.org/gw"


def test_the_common_name_names_nobody(authority: Authority) -> None:
    leaf = read_leaf(authority.leaf(common_name="gw.example.org").certificate)
    assert (leaf.spiffe, leaf.hosts, leaf.named) == ("", frozenset(), "nobody")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"names": ("spiffe://td/a", "spiffe://td/b")}, "more than one URI"),
        ({"names": ("https://td/a",)}, "is not spiffe"),
        ({"names": ("spiffe://td/a/../b",)}, "has no path"),
        ({"ca": True}, "an authority's"),
        ({"usage": usage(digital_signature=True, key_cert_sign=True)}, "for signing certificates"),
        ({"usage": usage(digital_signature=True, crl_sign=True)}, "for signing certificates"),
        ({"usage": usage(digital_signature=False)}, "not for signing in TLS"),
        ({"no_usage": True}, "does not say what its key is for"),
        ({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "not for clients"),
    ],
)
def test_what_is_no_svid_of_a_client(authority: Authority, made: dict[str, object], why: str) -> None:
    names = made.pop("names", ("spiffe://td/a",))
    pair = authority.leaf(*(uri(name) for name in names), **made)  # type: ignore[attr-defined,arg-type]  # a table's
    with pytest.raises(CertificateError, match=why):
        read_leaf(pair.certificate)


def test_what_is_no_certificate() -> None:
    for pem in (b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(CertificateError, match="can't be read"):
            read_certificate(pem)


def test_a_bundle_is_authorities_and_nothing_else(authority: Authority) -> None:
    leaf = authority.leaf(uri("spiffe://td/a"))
    for pem, why in (
        (b"", "no certificates"),
        (b"text", "no certificates"),
        (leaf.chain, "no authority's"),
        (authority.pem + leaf.chain, "no authority's"),
        (authority.pem + leaf.key, "private key"),
    ):
        with pytest.raises(ValueError, match=why):
            read_bundle(pem)
    other = Authority("next")
    both = read_bundle(authority.pem + other.pem)
    assert both.pem == authority.pem + other.pem
    assert both.expires == min(one.certificate.not_valid_after_utc for one in (authority, other))


@pytest.mark.parametrize("aki", [True, False])
def test_who_was_signed_by_an_authority_that_left_the_bundle_is_refused(aki: bool) -> None:
    """Same name, another key: as SPIRE's authorities follow each other."""
    old, new = Authority("spire"), Authority("spire")
    before, after = (
        read_certificate(old.leaf(uri("spiffe://td/a"), aki=aki).chain),
        read_certificate(new.leaf(uri("spiffe://td/a")).chain),
    )
    first = Bundle([old.certificate]).after(None)
    first.check(before)
    both = Bundle([old.certificate, new.certificate]).after(first)
    both.check(before)
    both.check(after)
    second = Bundle([new.certificate]).after(both)
    second.check(after)
    with pytest.raises(CertificateError, match="not believed any more"):
        second.check(before)
    again = Bundle([old.certificate]).after(second)  # and back
    again.check(before)


def test_a_signature_that_only_claims_its_authority_is_refused(authority: Authority) -> None:
    impostor = Authority("spire")
    forged = impostor.leaf(uri("spiffe://td/a"))
    leaf = read_certificate(forged.chain)
    claims = Bundle([authority.certificate])
    claims.by_key = {next(iter(Bundle([impostor.certificate]).by_key)): authority.certificate}
    with pytest.raises(CertificateError, match="not signed by the authority it names"):
        claims.check(leaf)


def test_an_intermediates_leaf_leads_to_the_bundle_or_is_refused(authority: Authority) -> None:
    nested = Authority("nested", under=authority)
    deeper = Authority("deeper", under=nested)
    leaf = read_certificate(deeper.leaf(uri("spiffe://td/a")).chain)
    shown = [leaf, deeper.certificate, nested.certificate, authority.certificate]
    known = Bundle([authority.certificate])
    known.check(leaf)  # what was shown isn't known: TLS has judged it
    known.check(leaf, shown)
    known.check(leaf, shown[::-1])
    left = Bundle([Authority("root").certificate])  # of the same name, another key
    for chain in (shown, shown[:2], [leaf, Authority("deeper", under=nested).certificate, nested.certificate]):
        with pytest.raises(CertificateError, match="not believed any more"):
            left.check(leaf, chain)
    with pytest.raises(CertificateError, match="not believed any more"):
        known.check(leaf, [leaf, nested.certificate])  # a link is missing


def test_chains_that_cannot_be_read_or_have_no_end(authority: Authority) -> None:
    assert read_chain(b"") == ()
    assert read_chain(authority.pem + authority.pem)
    with pytest.raises(CertificateError, match="can't be read"):
        read_chain(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(CertificateError, match="more than 16"):
        read_chain(authority.pem * 17)
