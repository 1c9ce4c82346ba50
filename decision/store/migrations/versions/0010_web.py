"""Browser sessions of reviewers, and log-ins under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "web_sessions",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("token", sa.JSON, nullable=False),
        sa.Column("auth_time", sa.BigInteger),
        sa.Column("acr", sa.Text, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_web_sessions_expires", "web_sessions", ["expires"])
    op.create_table(
        "web_logins",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_web_logins_expires", "web_logins", ["expires"])
