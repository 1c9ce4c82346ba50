"""What was learnt about tokens: proofs that were used, one-time passwords, what was revoked, and what came of what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proofs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_proofs_expires", "proofs", ["expires"])
    op.create_table(
        "credentials",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("token", sa.JSON, nullable=False),
        sa.Column("token_key", sa.LargeBinary(32), nullable=False),
        sa.Column("connection", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_credentials_expires", "credentials", ["expires"])
    op.create_table(
        "cutoffs",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("before", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_cutoffs_until", "cutoffs", ["until"])
    op.create_table(
        "descents",
        sa.Column("child", sa.LargeBinary(32), primary_key=True),
        sa.Column("parent", sa.LargeBinary(32), primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_descents_parent", "descents", ["parent"])
    op.create_index("ix_descents_expires", "descents", ["expires"])
