"""What policy tells live sessions apart by, and when they expire, beside each element of their closure."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_session_closure_element", "session_closure")
    op.rename_table("session_closure", "session_closure_0001")
    op.create_table(
        "session_closure",
        sa.Column("session", sa.String(64), sa.ForeignKey("sessions.id"), primary_key=True),
        sa.Column("element", sa.Text, primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    # Each that is open by now is a kind of its own: only more is told, and only until it ends.
    op.execute(
        "INSERT INTO session_closure (session, element, kind, expires)"
        " SELECT old.session, old.element, old.session, sessions.expires"
        " FROM session_closure_0001 AS old JOIN sessions ON sessions.id = old.session"
    )
    op.drop_table("session_closure_0001")
    op.create_index("ix_session_closure_kinds", "session_closure", ["element", "kind", "expires", "session"])
