"""What a statement does, said with certainty or called opaque: PostgreSQL's own parser plus the live catalog."""

from enforcers.postgres.describe.describer import Describer

__all__ = ["Describer"]
