"""Values for the store's tests, and a clock that only moves when told."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from decision.model import (
    ActKey,
    IdentityKey,
    Party,
    Reason,
    Session,
    Subject,
    Verdict,
    new_id,
)
from decision.ports import ApprovalDraft

ISS = "https://idp.example.com"
START = datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC)


class ManualClock:
    def __init__(self) -> None:
        self.wall = START
        self.ticks = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def pass_(self, seconds: float) -> None:
        """Time passes, as both clocks see it."""
        self.wall += timedelta(seconds=seconds)
        self.ticks += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self.wall += timedelta(seconds=seconds)


def subject(name: str, *, closure: tuple[str, ...] | None = None, role: str = "", kind: str = "person") -> Subject:
    party = Party(identity=IdentityKey(ISS, name), name=name, kind=kind, owner="", groups=("dba",))
    elements = closure if closure is not None else (name,)
    return Subject(
        party=party,
        actors=(),
        roles=(role,) if role else (),
        role=role,
        closure=elements,
        acting_closure=elements,
        token_id="jti",
        dev=False,
    )


AGENT = subject("executor-7", closure=("alice", "executor-7"), role="executor", kind="agent")


def session(
    *, who: Subject = AGENT, enforcer: str = "enf-1", lives_s: float = 3600, opened: datetime = START
) -> Session:
    return Session(
        id=new_id("ses"),
        subject=who,
        connection="crm",
        environment="production",
        protocol="postgres",
        client_address="127.0.0.1:50000",
        enforcer=enforcer,
        opened=opened,
        expires=opened + timedelta(seconds=lives_s),
    )


def act(text: str = "delete from orders", *, who: Subject = AGENT) -> ActKey:
    return ActKey(
        digest=hashlib.sha256(text.encode()).digest(),
        subject=who.party.identity,
        actors=tuple(one.identity for one in who.actors),
        role=who.role,
        connection="crm",
    )


def draft(
    session_id: str, text: str = "delete from orders", *, who: Subject = AGENT, expires_s: int = 600
) -> ApprovalDraft:
    return ApprovalDraft(
        key=act(text, who=who),
        requester=who,
        session=session_id,
        connection="crm",
        environment="production",
        operation=b"\x00\xff" + text.encode(),
        reasons=(Reason("sql/delete", "deletes in production", "ask a dba"),),
        groups=("dba",),
        quorum=1,
        expires_s=expires_s,
        revision="rev-1",
    )


def verdict(name: str, *, approve: bool = True, closure: tuple[str, ...] | None = None) -> Verdict:
    reviewer = replace(subject(name), closure=closure if closure is not None else (name,))
    return Verdict(reviewer=reviewer, approve=approve, reason="looks right", channel="cli", time=START)
