"""Plans, their executions, and which plan a session carries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("requester", sa.JSON, nullable=False),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("approval", sa.String(64), unique=True),
        sa.Column("execution", sa.String(64), unique=True),
    )
    op.create_index("ix_plans_created", "plans", ["created"])
    op.create_table(
        "executions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("plan", sa.String(64), sa.ForeignKey("plans.id"), nullable=False, unique=True),
        sa.Column("executor", sa.JSON, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("next", sa.Integer, nullable=False),
        sa.Column("shapes", sa.JSON, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ending", sa.String(64), nullable=False),
        sa.Column("runs", sa.JSON, nullable=False),
    )
    op.create_index("ix_executions_live", "executions", ["live"])
    op.add_column("sessions", sa.Column("plan", sa.String(64), nullable=False, server_default=""))
