"""Enforcers' signs of life, for replicas that share a store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "enforcer_signs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )
