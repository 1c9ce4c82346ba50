"""Units taken of budgets (masking.yaml, inference.budgets)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budget_units",
        sa.Column("unit", sa.String(64), primary_key=True),
        sa.Column("budget", sa.Text, primary_key=True),
        sa.Column("element", sa.Text, primary_key=True),
        sa.Column("taken", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_budget_units_element", "budget_units", ["budget", "element", "taken"])
    op.create_index("ix_budget_units_taken", "budget_units", ["taken"])
