"""What a caller has shown to hold, and whether that is what its token is bound to.

A token bound to a key is worth nothing without it (RFC 9449, section 7.1; RFC 8705, section 3), so every door says what
was shown there, and one that says nothing has shown nothing.
"""

from __future__ import annotations

from decision.errors import TokenError
from decision.model import Possession, VerifiedToken


def check_possession(token: VerifiedToken, shown: Possession) -> None:
    """Raises TokenError TOKEN_PROOF: a key it is bound to was not shown, or a proof came with a token bound to none."""
    held = {f"jkt:{shown.jkt}", f"x5t:{shown.x5t}"}
    if not held.issuperset(token.keys):
        raise TokenError("the token is bound to a key, and no proof of it came", code="TOKEN_PROOF")
    if shown.jkt and f"jkt:{shown.jkt}" not in token.keys:
        raise TokenError("the proof is by another key than the token's", code="TOKEN_PROOF")
