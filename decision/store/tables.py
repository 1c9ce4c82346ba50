"""The schema as SQLAlchemy sees it; migrations/ makes it and a test holds the two together.

Times are integer microseconds (decision.store.clock). Facts that are only ever read whole (subjects, reasons) are JSON;
whatever a condition reads is a column.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect


class _NoNul(TypeDecorator[str]):
    """Text from callers, ids that they name included. PostgreSQL holds no NUL in a text, so no database gets one: it
    is stored as U+FFFD, and an id with one is an id that nobody has."""

    impl: type[String] = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value


class Words(_NoNul):
    impl = Text
    cache_ok = True


class Id(_NoNul):
    """At most 64 characters, where the database counts them."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(64)


metadata = MetaData()

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("high_water", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject", JSON, nullable=False),
    Column("connection", Words, nullable=False),
    Column("environment", Words, nullable=False),
    Column("protocol", Words, nullable=False),
    Column("client_address", Words, nullable=False),
    Column("enforcer", Words, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("closed", BigInteger),
    Column("close_reason", Words, nullable=False),
    Column("plan", Id, nullable=False, server_default=""),  # whose steps it does; "" for none
    Index("ix_sessions_closed_enforcer", "closed", "enforcer"),
)

# Rows of open sessions only: close() removes them, so that a busy principal's past costs nothing. `kind` is what policy
# tells sessions apart by (decision.store.codec.kind_hash), so that a principal's thousandth session finds the few kinds
# there are in the index alone.
session_closure = Table(
    "session_closure",
    metadata,
    Column("session", Id, ForeignKey("sessions.id"), primary_key=True),
    Column("element", Words, primary_key=True),
    Column("kind", Id, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_session_closure_kinds", "element", "kind", "expires", "session"),
)

# On a store that replicas share: an enforcer's signs of life at any of them, as a number that each sign raises. Whoever
# sees it stand still for too long on their own monotonic clock has not heard from it (sessions.py).
enforcer_signs = Table(
    "enforcer_signs",
    metadata,
    Column("name", Words, primary_key=True),
    Column("beats", BigInteger, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("state", String(32), nullable=False),
    Column("act", LargeBinary(32), nullable=False),  # SHA-256 over the act key: finds it; the key itself is compared
    Column("key", JSON, nullable=False),
    Column("requester", JSON, nullable=False),
    Column("asker", LargeBinary(32), nullable=False),  # SHA-256 over the subject's identity
    Column("session", Id, nullable=False),
    Column("connection", Words, nullable=False),
    Column("environment", Words, nullable=False),
    Column("operation", LargeBinary, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("decided", BigInteger),
    Column("execution", Id, unique=True),
    Column("finished", BigInteger),  # when the outcome of the redeemed act was recorded
    Column("revision", Words, nullable=False),
    Index("ix_approvals_act", "act", "state"),
    Index("ix_approvals_asker", "asker", "state"),
    Index("ix_approvals_state_expires", "state", "expires"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("approval", Id, ForeignKey("approvals.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("reviewer", JSON, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("reason", Words, nullable=False),
    Column("channel", Words, nullable=False),
    Column("time", BigInteger, nullable=False),
)

# One row per element of a reviewer's closure: the key itself keeps one closure from counting twice.
# Who is behind each request: a closure's requests are counted, until they have ended and an hour has passed.
approval_askers = Table(
    "approval_askers",
    metadata,
    Column("approval", Id, ForeignKey("approvals.id"), primary_key=True),
    Column("element", Words, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Index("ix_approval_askers_element", "element", "until"),
)

verdict_closure = Table(
    "verdict_closure",
    metadata,
    Column("approval", Id, ForeignKey("approvals.id"), primary_key=True),
    Column("element", Words, primary_key=True),
    Column("number", Integer, nullable=False),
)

# One row per element of the closure that a unit was taken for (decision.store.budgets).
budget_units = Table(
    "budget_units",
    metadata,
    Column("unit", Id, primary_key=True),  # the decision that took it
    Column("budget", Words, primary_key=True),
    Column("element", Words, primary_key=True),
    Column("taken", BigInteger, nullable=False),
    Index("ix_budget_units_element", "budget", "element", "taken"),
    Index("ix_budget_units_taken", "taken"),
)

# Proofs of possession that were used. `id` only grows and the oldest go first, so that the two ends of it say at once
# how full the table is at most.
proofs = Table(
    "proofs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", LargeBinary(32), nullable=False, unique=True),
    Column("expires", BigInteger, nullable=False),
    Index("ix_proofs_expires", "expires"),
)

# One-time passwords, by their SHA-256: who reads the store can't log in with what it holds.
credentials = Table(
    "credentials",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("token", JSON, nullable=False),
    Column("token_key", LargeBinary(32), nullable=False),
    Column("connection", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("address", Text, nullable=False),  # "" where it is not bound to one
    Column("uses", Integer, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_credentials_expires", "expires"),
)

# What was revoked: tokens issued until `before` are refused. `until`: none that was issued then lives any more.
cutoffs = Table(
    "cutoffs",
    metadata,
    Column("kind", String(16), primary_key=True),  # token, party, role
    Column("value", Text, primary_key=True),
    Column("before", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_cutoffs_until", "until"),
)

# Which token was exchanged for which, by the SHA-256 of issuer and id: with a parent its children are revoked.
descents = Table(
    "descents",
    metadata,
    Column("child", LargeBinary(32), primary_key=True),
    Column("parent", LargeBinary(32), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Index("ix_descents_parent", "parent"),
    Index("ix_descents_expires", "expires"),
)

# Labels of columns that inherit them, until the classification file has them (decision.store.derived).
derived_labels = Table(
    "derived_labels",
    metadata,
    Column("connection", Words, primary_key=True),
    Column("name", Words, primary_key=True),
    Column("label", Words, nullable=False),
    Column("made", BigInteger, nullable=False),
)

# What each element of a closure has done at least once, and when last (decision.store.history).
closure_acts = Table(
    "closure_acts",
    metadata,
    Column("element", Words, primary_key=True),
    Column("act", Words, primary_key=True),
    Column("object", Words, primary_key=True),
    Column("connection", Words, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Index("ix_closure_acts_number", "number"),
    Index("ix_closure_acts_act", "act"),
)

# Reviewers' browsers, by the SHA-256 of their cookie: who reads the store can't be one of them.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("token", JSON, nullable=False),
    Column("auth_time", BigInteger),
    Column("acr", Text, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_web_sessions_expires", "expires"),
)

# Log-ins under way, by the SHA-256 of their `state` and of the cookie of the browser that began them.
web_logins = Table(
    "web_logins",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    Column("facts", JSON, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_web_logins_expires", "expires"),
)

# `body`: the serialised PlanOperation, which the digest is over. An approval is of one plan, a plan has one execution.
plans = Table(
    "plans",
    metadata,
    Column("id", Id, primary_key=True),
    Column("requester", JSON, nullable=False),
    Column("connection", Words, nullable=False),
    Column("environment", Words, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("not_before", BigInteger),
    Column("expires", BigInteger, nullable=False),
    Column("approval", Id, unique=True),
    Column("execution", Id, unique=True),
    Index("ix_plans_created", "created"),
)

executions = Table(
    "executions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("plan", Id, ForeignKey("plans.id"), nullable=False, unique=True),
    Column("executor", JSON, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("state", String(32), nullable=False),
    Column("steps", Integer, nullable=False),
    Column("next", Integer, nullable=False),
    Column("shapes", JSON, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("reason", Words, nullable=False),
    Column("ending", Id, nullable=False),
    Column("runs", JSON, nullable=False),
    Index("ix_executions_live", "live"),
)
