"""enforcers.yaml: which certificate is which enforcer. What one may serve is policy (rego/duties/enforcers.rego).

A name here is what policy, records and sessions know an enforcer by; a certificate that nobody is named by is no
enforcer's, however good it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cachetools import LRUCache
from cryptography.hazmat.primitives.serialization import Encoding

from decision.identity.documents import Document
from decision.identity.svid import (
    Bundle,
    CertificateError,
    Leaf,
    host_name,
    read_certificate,
    read_chain,
    read_leaf,
    spiffe_id,
    thumbprint,
    trust_domain,
)

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}\Z")
_KINDS: Final[Mapping[str, Callable[[str], str]]] = {"spiffe": spiffe_id, "dns": host_name}
_KNOWN: Final = 1024
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Peers:
    """By SPIFFE ID, or else by host name: the enforcer's name."""

    spiffe: Mapping[str, str]
    dns: Mapping[str, str]

    def name(self, leaf: Leaf) -> str:
        """ "" for a certificate that is no enforcer's. Raises CertificateError where it would be two."""
        if leaf.spiffe:
            return self.spiffe.get(leaf.spiffe, "")
        found = {self.dns[host] for host in leaf.hosts if host in self.dns}
        if len(found) > 1:
            raise CertificateError("the certificate names two enforcers")
        return found.pop() if found else ""


def read_peers(document: Document) -> Peers:
    """Raises PolicyLoadError, which names file, line and key."""
    top = document.data
    if not isinstance(top, dict) or set(top) != {"enforcers"} or not isinstance(top["enforcers"], list):
        document.fail(
            (), "is not {enforcers: [...]}", "write the list of enforcers, each {name, spiffe} or {name, dns}"
        )
    named: dict[str, dict[str, str]] = {"spiffe": {}, "dns": {}}
    names: set[str] = set()
    for index, item in enumerate(top["enforcers"]):
        kind = next((one for one in _KINDS if isinstance(item, dict) and set(item) == {"name", one}), None)
        if kind is None:
            document.fail(("enforcers", index), "is not {name, spiffe} or {name, dns}", "write one of the two")
        name, value = item["name"], item[kind]
        if not isinstance(name, str) or not _NAME.match(name) or name in names:
            document.fail(
                ("enforcers", index, "name"), "is no name, or given twice", "use lower-case letters, digits, ., _ and -"
            )
        names.add(name)
        if not isinstance(value, str):
            document.fail(("enforcers", index, kind), "is not a text", "put it in quotes")
        try:
            _KINDS[kind](value)
        except ValueError as error:
            document.fail(("enforcers", index, kind), str(error), "write it exactly as in the certificate")
        if value in named[kind]:
            document.fail(("enforcers", index, kind), "is given twice", "one certificate is one enforcer's")
        named[kind][value] = name
    if len({trust_domain(one) for one in named["spiffe"]}) > 1:
        document.fail(("enforcers",), "names enforcers of two trust domains", "one bundle is one trust domain's")
    return Peers(named["spiffe"], named["dns"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A caller's certificate, as TLS took it, for one call. pem is empty where none was asked for."""

    pem: bytes = b""
    chain: bytes = b""  # all that was shown with it: the intermediates, where there are any
    version: str = ""  # of TLS: "TLSv1.3"


UNSHOWN: Final = Shown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """enforcer: its name, "" where it is none's, and `why` then says why not. x5t: the certificate's thumbprint."""

    enforcer: str = ""
    x5t: str = ""
    expires: datetime | None = None
    why: str = ""
    named: str = ""  # what the certificate says, for the log


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What never changes of a certificate under one bundle and one list. begins and ends: when it is valid."""

    enforcer: str = ""
    x5t: str = ""
    why: str = ""
    named: str = ""
    begins: datetime = _NEVER
    ends: datetime = _NEVER


class Recognition:
    """Who a certificate is, by the bundle and the peers of now. `replace` both at once."""

    def __init__(self, bundle: Bundle, peers: Peers, now: Callable[[], datetime]) -> None:
        self._bundle = bundle
        self._peers = peers
        self._now = now
        self._known: LRUCache[tuple[bytes, bytes], _Judged] = LRUCache(_KNOWN)

    def replace(self, bundle: Bundle, peers: Peers) -> None:
        self._bundle, self._peers = bundle.after(self._bundle), peers
        self._known.clear()

    def of(self, shown: Shown) -> Recognised:
        """Nobody, for what names nobody; raises nothing."""
        if not shown.pem:
            return Recognised(why="no certificate was shown")
        judged = self._judge(shown)
        if judged.x5t and not judged.begins <= self._now() < judged.ends:
            return Recognised(why="the certificate has expired, or is not valid yet", named=judged.named)
        name, why = judged.enforcer, judged.why
        if name and shown.version != "TLSv1.3":
            name, why = "", f"an enforcer speaks TLS 1.3, not {shown.version or 'an unknown version'}"
        return Recognised(enforcer=name, x5t=judged.x5t, expires=judged.ends, why=why, named=judged.named)

    def _judge(self, shown: Shown) -> _Judged:
        """Kept, because each call brings its certificate again."""
        known = self._known.get((shown.pem, shown.chain))
        if known is None:
            known = self._known[shown.pem, shown.chain] = self._judged(shown)
        return known

    def _judged(self, shown: Shown) -> _Judged:
        try:
            certificate = read_certificate(shown.pem)
            self._bundle.check(certificate, read_chain(shown.chain))
        except CertificateError as error:
            return _Judged(why=error.why)
        name, why, named = "", "", ""
        try:
            leaf = read_leaf(certificate)
            named = leaf.named
            name = self._peers.name(leaf)
            why = "" if name else "the certificate is no enforcer's"
        except CertificateError as error:
            why = error.why
        return _Judged(
            enforcer=name,
            x5t=thumbprint(certificate.public_bytes(Encoding.DER)),  # it is bound to, whatever it names
            why=why,
            named=named,
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
        )
