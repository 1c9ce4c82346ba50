"""Audit records read as a story; odd ones never crash it, hostile ones never reach the terminal."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from decision.cli import story

DECISION = {
    "kind": "decision",
    "index": 7,
    "time": "2026-01-01T00:00:00.000000Z",
    "operation": "op_1",
    "dev": True,
    "subject": {"name": "executor-7", "owner": "alice", "actors": [{"iss": "i", "sub": "alice", "name": ""}]},
    "role": "executor",
    "connection": "crm",
    "environment": "production",
    "outcome": "mask-columns",
    "reasons": [{"rule": "R-1", "reason": "because"}],
    "statement": base64.b64encode(b"SELECT \x1b[2J1").decode(),
    "bound": [{"is_null": False, "binary": False, "value": base64.b64encode(b"42").decode()}, {"is_null": True}],
    "obligations": [
        {
            "type": "mask-columns",
            "parameters": {
                "columns": [{"schema": "s", "relation": "r", "column": "c", "label": "pii", "masker": {"type": "null"}}]
            },
        },
        {"type": "max-rows", "parameters": {"rows": 10}},
    ],
}
VERDICT = {
    "kind": "approval",
    "index": 8,
    "event": "verdict",
    "state": "approved",
    "approval": "apr_1",
    "reviewer": {"subject": {"name": "bob"}},
    "verdict": {"approve": True, "reason": "fine\x1b[0m"},
}
REFUSED = {
    **VERDICT,
    "event": "verdict-refused",
    "verdict": {"approve": True},
    "answer": {"reasons": [{"rule": "DUTY-REVIEW-SELF", "reason": "own act"}]},
}
ACT = {"kind": "act", "index": 9, "outcome": {"status": "completed", "command_tag": "SELECT 2", "rows": 2}}


def test_the_story_says_who_what_why_and_who_approved() -> None:
    text = "\n".join(story.story([DECISION, VERDICT, REFUSED, ACT]))
    for part in (
        "unknown (i, alice) for executor-7 (agent of alice) in role executor",
        "SELECT \\x1b[2J1",
        "$1 = '42'",
        "$2 = NULL",
        "rule R-1: because",
        "masks s.r.c (pii, null)",
        "obligations max-rows",
        "bob says yes",
        "because fine\\x1b[0m",
        "refused by rule DUTY-REVIEW-SELF: own act",
        "completed, SELECT 2, 2 rows",
        "DEVELOPMENT IDENTITY",
    ):
        assert part in text
    assert "\x1b" not in text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*DECISION, *VERDICT, "parameters", "columns", "type"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from([*DECISION, *VERDICT, "outcome", "answer"]), JSON_VALUES))
def test_no_record_crashes_it_or_reaches_the_terminal(record: dict[str, object]) -> None:
    for kind in ("decision", "approval", "act", "session-opened"):
        odd = {**record, "kind": kind}
        for line in [story.line(odd), *story.story([odd])]:
            assert "\x1b" not in line
            assert "\u202e" not in line
