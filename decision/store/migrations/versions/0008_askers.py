"""Who is behind each request for an approval: requests are counted by closure."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_HOUR_US = 3_600_000_000


def upgrade() -> None:
    askers = op.create_table(
        "approval_askers",
        sa.Column("approval", sa.String(64), sa.ForeignKey("approvals.id"), primary_key=True),
        sa.Column("element", sa.Text, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_approval_askers_element", "approval_askers", ["element", "until"])
    open_ones = sa.text("SELECT id, requester, expires FROM approvals WHERE state IN ('pending', 'approved')")
    rows = []
    for approval, requester, expires in op.get_bind().execute(open_ones):
        subject = json.loads(requester) if isinstance(requester, str) else requester
        rows += [
            {"approval": approval, "element": element, "until": expires + _HOUR_US} for element in subject["closure"]
        ]
    if rows:
        op.bulk_insert(askers, rows)
