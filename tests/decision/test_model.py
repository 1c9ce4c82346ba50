"""Ids are UUIDv7 (RFC 9562, section 5.7) in base32 (RFC 4648), lower case, without padding."""

from __future__ import annotations

import time
import uuid
from base64 import b32decode

from decision.model import new_id


def test_an_id_is_a_prefix_and_a_uuid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id("dec") for _ in range(200)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 200
    for one in made:
        prefix, _, digits = one.partition("_")
        assert (prefix, len(digits)) == ("dec", 26)
        whole = uuid.UUID(bytes=b32decode(digits.upper() + "======"))
        assert (whole.version, whole.variant) == (7, uuid.RFC_4122)
        assert before <= whole.int >> 80 <= after
