"""When the certificates that the configuration names expire, for `twokey doctor`.

"Soon" is measured by what a certificate lives for: a workload's of an hour is renewed at half of that, so one that has
less than a quarter left was not renewed in time; one of a year is warned of two weeks before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509

from decision.cli.config import Loaded, certificates_named
from decision.cli.finding import Finding
from decision.cli.located import spell

SOON = timedelta(days=14)
_PARTS = ("certificate", "ca", "clients")


def findings(loaded: Loaded, now: datetime | None = None) -> Iterator[Finding]:
    """One for each file of certificates: the first in it to expire, and of a listener's chain its own."""
    now = now or datetime.now(UTC)
    for place, named, keys in certificates_named(loaded.config, accounts=True):
        for key in keys:
            path = getattr(named, key)
            if key in _PARTS and path is not None:
                yield _finding(loaded, spell((*place, key)), path, now, alone=key == "certificate")


def _finding(loaded: Loaded, subject: str, path: str, now: datetime, *, alone: bool) -> Finding:
    try:
        found = x509.load_pem_x509_certificates(loaded.absolute(path).read_bytes())
    except OSError as error:
        return Finding("problem", subject, f"{path} can't be read: {error.strerror}", "correct the path, or its mode")
    except ValueError:
        return Finding("problem", subject, f"{path} holds no certificates in PEM", "write it anew")
    first = found[0] if alone else min(found, key=lambda one: one.not_valid_after_utc)
    ends, life = first.not_valid_after_utc, first.not_valid_after_utc - first.not_valid_before_utc
    when = f"{ends:%Y-%m-%d %H:%M} UTC"
    if ends <= now:
        return Finding("problem", subject, f"{path} expired at {when}", "renew it; twokey reads it again by itself")
    if first.not_valid_before_utc > now:
        return Finding("problem", subject, f"{path} is not valid yet", "is this machine's clock right?")
    if ends - now < min(SOON, life / 4):
        return Finding(
            "warning", subject, f"{path} expires soon, at {when}", "renew it; what renews it may have stopped"
        )
    return Finding("ok", subject, f"{path} is good until {when}")
