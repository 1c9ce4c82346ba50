"""SPIFFE IDs (SPIFFE-ID, sections 2.1 to 2.3) as they stand in JWT-SVIDs: one spelling, one trust domain.

Nothing is decoded or normalised: the specification has no percent-encoding, no dot segments, no empty ones and no case
to fold, so what would need it is no SPIFFE ID.
"""

from __future__ import annotations

import re
from typing import Final

SCHEME: Final = "spiffe://"
ALGORITHMS: Final = frozenset(
    f"{family}{size}" for family in ("RS", "ES", "PS") for size in (256, 384, 512)
)  # JWT-SVID, section 3
LIFETIME_S: Final = 300
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}\Z")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+\Z")


def is_trust_domain(text: str) -> bool:
    """Whether it can be the name of one."""
    return bool(_DOMAIN.match(text))


def is_of(identity: str, trust_domain: str) -> bool:
    """Whether it is the SPIFFE ID of a workload in this trust domain."""
    if not identity.startswith(f"{SCHEME}{trust_domain}/") or len(identity) > 2048:
        return False
    segments = identity.removeprefix(f"{SCHEME}{trust_domain}/").split("/")
    return all(_SEGMENT.match(segment) and segment not in {".", ".."} for segment in segments)
