"""Sessions, approvals, verdicts and the high-water mark of the clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    clock = op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("high_water", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(clock, [{"id": 1, "high_water": 0}])
    _sessions()
    _approvals()
    _verdicts()


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.JSON, nullable=False),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("client_address", sa.Text, nullable=False),
        sa.Column("enforcer", sa.Text, nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.BigInteger),
        sa.Column("close_reason", sa.Text, nullable=False),
    )
    op.create_index("ix_sessions_closed_enforcer", "sessions", ["closed", "enforcer"])
    op.create_table(
        "session_closure",
        sa.Column("session", sa.String(64), sa.ForeignKey("sessions.id"), primary_key=True),
        sa.Column("element", sa.Text, primary_key=True),
    )
    op.create_index("ix_session_closure_element", "session_closure", ["element"])


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("act", sa.LargeBinary(32), nullable=False),
        sa.Column("key", sa.JSON, nullable=False),
        sa.Column("requester", sa.JSON, nullable=False),
        sa.Column("asker", sa.LargeBinary(32), nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("operation", sa.LargeBinary, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("quorum", sa.Integer, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("decided", sa.BigInteger),
        sa.Column("execution", sa.String(64), unique=True),
        sa.Column("finished", sa.BigInteger),
        sa.Column("revision", sa.Text, nullable=False),
    )
    op.create_index("ix_approvals_act", "approvals", ["act", "state"])
    op.create_index("ix_approvals_asker", "approvals", ["asker", "state"])
    op.create_index("ix_approvals_state_expires", "approvals", ["state", "expires"])


def _verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("approval", sa.String(64), sa.ForeignKey("approvals.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("reviewer", sa.JSON, nullable=False),
        sa.Column("approve", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "verdict_closure",
        sa.Column("approval", sa.String(64), sa.ForeignKey("approvals.id"), primary_key=True),
        sa.Column("element", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
