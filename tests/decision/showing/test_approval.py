"""What a terminal shows of an approval, of the same functions as a browser."""

from __future__ import annotations

from twokey.approval.v1 import approval_pb2

from decision.showing import approval as showing


def made(statement: str) -> approval_pb2.Approval:
    asked = approval_pb2.Approval(id="apr_x", state=approval_pb2.STATE_PENDING, connection="crm", quorum=1)
    asked.groups.append("dba")
    asked.operation.sql.values.statement = statement.encode()
    return asked


def test_every_section_is_there_and_nothing_moves_the_cursor() -> None:
    asked = made("DELETE FROM \u043erders -- \x1b[2J\u202e")
    asked.operation.reason = "routine\n  quorum met"
    asked.operation.sql.not_covered.append("COPY data")
    given = asked.verdicts.add(approve=False, reason="no\x1b]8;;http://x\x07", channel="web")
    given.reviewer.identity.name = "bob"
    lines = showing.describe(asked)
    for title in (
        "why it is held",
        "statement",
        "LOOK CLOSELY",
        "what it touches",
        "WHAT YOU CAN'T SEE HERE",
        "verdicts",
    ):
        assert title in lines
    assert all(character.isprintable() for line in lines for character in line)
    assert not any(line.startswith("  quorum met") for line in lines)


def test_plain_statements_have_no_warning() -> None:
    assert "LOOK CLOSELY" not in showing.describe(made("DELETE FROM orders"))


def test_state_and_first_words() -> None:
    asked = made("DELETE\n   FROM   orders")
    assert showing.state(asked) == "pending"
    assert showing.first(asked, 10) == "DELETE FRO…"
