"""enforcers.yaml, and whom it makes of a certificate."""

from __future__ import annotations

import datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from decision.errors import PolicyLoadError
from decision.identity.documents import parse
from decision.identity.peers import Peers, Recognition, Shown, read_peers
from decision.identity.svid import Bundle, thumbprint
from tests.pki import HOUR, Authority, Pair, host, uri

TEXT = """enforcers:
  - {name: gw-1, spiffe: "spiffe://example.org/gw-1"}
  - {name: gw-2, dns: gw-2.example.org}
  - {name: gw-3, dns: gw-3.example.org}
"""


def peers(text: str = TEXT) -> Peers:
    return read_peers(parse(text.encode(), "enforcers.yaml"))


def test_the_file() -> None:
    found = peers()
    assert found.spiffe == {"spiffe://example.org/gw-1": "gw-1"}
    assert found.dns == {"gw-2.example.org": "gw-2", "gw-3.example.org": "gw-3"}
    assert peers("enforcers: []") == Peers({}, {})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("- a", "enforcers.yaml:1"),
        ("enforcers: {}", "enforcers.yaml:1"),
        ("enforcers:\n  - {name: a}", r"enforcers.yaml:2: enforcers\[0\]: is not"),
        ("enforcers:\n  - {name: a, spiffe: 'spiffe://td/a', dns: a.b}", "is not"),
        ("enforcers:\n  - {name: A, dns: a.b}", r"enforcers\[0\].name"),
        ("enforcers:\n  - {name: a, dns: a.b}\n  - {name: a, dns: b.c}", r":3: enforcers\[1\].name"),
        ("enforcers:\n  - {name: a, dns: a.b}\n  - {name: b, dns: a.b}", "given twice"),
        ("enforcers:\n  - {name: a, dns: '*.b'}", "wildcards"),
        ("enforcers:\n  - {name: a, dns: 5}", "not a text"),
        ("enforcers:\n  - {name: a, spiffe: 'spiffe://td/a/../b'}", "has no path"),
        (
            "enforcers:\n  - {name: a, spiffe: 'spiffe://td/a'}\n  - {name: b, spiffe: 'spiffe://other/a'}",
            "two trust domains",
        ),
    ],
)
def test_a_fault_is_named_with_file_and_line(text: str, where: str) -> None:
    with pytest.raises(PolicyLoadError, match=where):
        peers(text)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("spire")


def recognition(authority: Authority, text: str = TEXT, *, later: datetime.timedelta = 0 * HOUR) -> Recognition:
    return Recognition(
        Bundle([authority.certificate]), peers(text), lambda: datetime.datetime.now(datetime.UTC) + later
    )


def shown(pair: Pair, version: str = "TLSv1.3") -> Shown:
    return Shown(pem=pair.chain, version=version)


def test_an_enforcer_is_who_its_certificate_names(authority: Authority) -> None:
    known = recognition(authority)
    pair = authority.leaf(uri("spiffe://example.org/gw-1"))
    for _ in range(2):  # what is kept of it is the same
        found = known.of(shown(pair))
        assert (found.enforcer, found.expires, found.why) == ("gw-1", pair.certificate.not_valid_after_utc, "")
    assert known.of(shown(authority.leaf(host("gw-2.example.org"), host("other.example.org")))).enforcer == "gw-2"


@pytest.mark.parametrize(
    ("names", "common_name", "why"),
    [
        ([uri("spiffe://other.org/gw-1")], "", "no enforcer's"),  # T27: another trust domain
        ([uri("spiffe://example.org/gw-1/x")], "", "no enforcer's"),
        ([uri("spiffe://example.org/Gw-1")], "", "no enforcer's"),
        ([uri("spiffe://example.org/x/../gw-1")], "", "has no path"),
        ([uri("spiffe://example.org/gw%2d1")], "", "has no path"),
        (
            [uri("spiffe://example.org/alice"), host("gw-2.example.org")],
            "",
            "no enforcer's",
        ),  # an SVID's hosts name nobody
        ([host("*.example.org")], "", "no enforcer's"),
        ([host("GW-2.example.org")], "", "no enforcer's"),
        ([host("gw-2.example.org.")], "", "no enforcer's"),
        ([], "gw-2.example.org", "no enforcer's"),  # the common name
        ([host("alice.example.org")], "gw-2.example.org", "no enforcer's"),
        ([host("gw-2.example.org"), host("gw-3.example.org")], "", "two enforcers"),
    ],
)
def test_who_is_no_enforcer(authority: Authority, names: list[object], common_name: str, why: str) -> None:
    found = recognition(authority).of(shown(authority.leaf(*names, common_name=common_name)))  # type: ignore[arg-type]  # a table's
    assert found.enforcer == ""
    assert why in found.why


def test_time_tls_and_nothing_shown(authority: Authority) -> None:
    pair = authority.leaf(uri("spiffe://example.org/gw-1"))
    assert "expired" in recognition(authority, later=2 * HOUR).of(shown(pair)).why
    assert "not valid yet" in recognition(authority, later=-2 * HOUR).of(shown(pair)).why
    for version in ("TLSv1.2", ""):
        old = recognition(authority).of(shown(pair, version))
        assert old.enforcer == ""
        assert "TLS 1.3" in old.why
    assert recognition(authority).of(Shown()).why == "no certificate was shown"
    assert recognition(authority).of(Shown(pem=b"text", version="TLSv1.3")).x5t == ""


def test_a_certificate_that_names_nobody_still_has_a_thumbprint(authority: Authority) -> None:
    """RFC 8705 binds to the certificate, whatever it is called; but to none that expired, or whose authority left."""
    for names in (
        [uri("urn:client:7"), uri("urn:client:8")],
        [uri("https://client.example")],
        [host("*.example.org")],
        [],
    ):
        pair = authority.leaf(*names)
        found = recognition(authority).of(shown(pair, "TLSv1.2"))
        assert (found.enforcer, found.x5t) == ("", thumbprint(pair.certificate.public_bytes(Encoding.DER)))
        assert recognition(authority, later=2 * HOUR).of(shown(pair)).x5t == ""
        swapped = recognition(authority)
        swapped.replace(Bundle([Authority("spire").certificate]), peers())
        assert swapped.of(shown(pair)).x5t == ""


def test_what_is_replaced_counts_at_once(authority: Authority) -> None:
    known, pair = recognition(authority), authority.leaf(uri("spiffe://example.org/gw-1"))
    assert known.of(shown(pair)).enforcer == "gw-1"
    known.replace(Bundle([authority.certificate]), peers("enforcers: []"))
    assert known.of(shown(pair)).enforcer == ""
    known.replace(Bundle([Authority("spire").certificate]), peers())
    assert "not believed any more" in known.of(shown(pair)).why
    known.replace(Bundle([authority.certificate]), peers())
    assert known.of(shown(pair)).enforcer == "gw-1"
