"""A small, seeded part of `make fuzz`, what it found so far, and that its checks can fail."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from enforcers.core.ports import Outcome
from enforcers.postgres import wire
from tests.fuzz import codec
from tests.fuzz.conversation import BrokenInvariantError, Conversation, Operation, compare, view
from tests.fuzz.generate import PROFILES, conversation
from tests.fuzz.run import CRASHERS, judge, keep, one_input, problem, smaller
from tests.fuzz.shrink import shrink
from tests.fuzz.target import ModelTarget

INPUTS = 12_000
PIECES = 4


def sends(*messages: bytes) -> list[Operation]:
    return [["c", message.hex()] for message in messages]


def pipeline(text: bytes, *, name: bytes = b"", portal: bytes = b"", rows: int = 0) -> list[Operation]:
    return sends(wire.parse(name, text), wire.bind(portal, name), wire.execute(portal, rows))


CALL = wire.message(b"F", struct.pack("!IHHH", 1, 0, 0, 0))

# name: the conversation as it was found, made small. Each was a bug of the machine.
FOUND: dict[str, Sequence[Operation]] = {
    "no outcome for the statements behind the one that failed": sends(wire.query(b"UPDATE fail; SELECT 0")),
    "completed before its message failed, because a later BEGIN was counted already": sends(
        wire.query(b"DELETE notice; UPDATE fail; BEGIN")
    ),
    "a suspended portal, replaced by a Bind that fails, was completed": [
        *pipeline(b"SELECT 3", portal=b"q", rows=2),
        *sends(wire.parse(b"a", b"SELECT 1"), wire.bind(b"q", b"a"), wire.SYNC),
    ],
    "a suspended portal, rolled back by ROLLBACK in its pipeline, was completed": [
        *pipeline(b"SELECT 1", name=b"b", rows=1),
        *pipeline(b"ROLLBACK", portal=b"q"),
        *sends(wire.SYNC),
    ],
    "a suspended portal, rolled back with its pipeline, was completed, because a BEGIN was on its way": [
        *pipeline(b"SELECT 3 masked", rows=2),
        *sends(wire.describe(b"P", b"p")),
        *pipeline(b"BEGIN", portal=b"q"),
        *sends(wire.SYNC),
    ],
    "a Query behind a pipeline that failed was never answered, nor the Sync after it": [
        *pipeline(b"COPY t TO stdout", rows=1),
        *sends(wire.execute(b""), wire.query(b"SELECT 3; DELETE notice"), wire.SYNC, wire.query(b"SELECT 1")),
    ],
    "a Query that can't be parsed, behind a pipeline that failed, got a ReadyForQuery": [
        *pipeline(b"VACUUM x"),
        *sends(wire.execute(b""), wire.query(b"syntax"), wire.SYNC),
    ],
    "a function call behind a COPY that failed got a ReadyForQuery": [
        *pipeline(b"COPY t FROM stdin fail", portal=b"p"),
        *sends(wire.message(b"c"), CALL, wire.SYNC),
    ],
    "no outcome for what was granted when the target died during the next decision": [
        *sends(wire.query(b"COPY t FROM stdin fail; SELECT 2")), ["t", 0], ["r", 0], ["l"],
    ],
    "no outcome for a guarded statement when the session was revoked": [
        *sends(wire.query(b"SELECT 4 masked fail")), ["t", 0], ["r", 0], ["v"],
    ],
    "no outcome for what runs when the token expires between Bind and Execute": [
        *sends(wire.parse(b"", b"SELECT 3 masked"), wire.bind(b"", b"")), ["t", 0], ["r", 0], ["e"],
        *sends(wire.execute(b"")),
    ],
    "no outcome for what runs when the token expires before the next Bind": [
        *pipeline(b"SELECT 1"), ["t", 0], ["r", 0], ["e"], *pipeline(b"SELECT 2", portal=b"p"),
    ],
    "an earlier statement of the message was completed when a later one had too many rows": sends(
        wire.query(b"SELECT 1; SELECT 5 limited slow")
    ),
    "rows were relayed after the session was revoked": [
        *sends(wire.query(b"SELECT 5 slow")), ["t", 0], ["r", 0], ["v"], ["y"], ["t", 0],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_away(name: str) -> None:
    judge(list(FOUND[name]), plain=False)


def test_what_make_fuzz_kept_stays_away() -> None:
    for path in sorted(CRASHERS.glob("*.json")):
        kept = json.loads(path.read_text())
        assert problem(kept["operations"], plain=kept["plain"]) == "", path.name


def test_what_is_found_is_kept_for_this_test(tmp_path: Path) -> None:
    path = keep(0, "broken", [["c", "ff"], ["y"]], folder=tmp_path)
    assert json.loads(path.read_text()) == {"found": "broken", "plain": True, "operations": []}


@pytest.mark.parametrize("piece", range(PIECES))
def test_a_seeded_part_of_the_million(piece: int) -> None:
    size = INPUTS // PIECES
    found = [(seed, what) for seed in range(piece * size, (piece + 1) * size) if (what := one_input(seed)[0])]
    assert found == []


# The checks themselves


def test_an_execution_without_a_decision_is_noticed() -> None:
    one = Conversation()
    one.target.feed(wire.query(b"UPDATE x"))
    with pytest.raises(BrokenInvariantError, match="without a decision"):
        one.step(["t", 0])


def test_an_act_without_an_outcome_is_noticed() -> None:
    one = Conversation()
    one.gate.open["op_1"] = (b"UPDATE x", ())
    with pytest.raises(BrokenInvariantError, match="without an outcome"):
        one.conclude()


@pytest.mark.parametrize(("status", "executed"), [("completed", False), ("failed", True), ("not-executed", True)])
def test_a_dishonest_outcome_is_noticed(status: str, executed: bool) -> None:
    one = Conversation()
    key = (b"UPDATE x", ())
    one.gate.granted[key] = 1
    if executed:
        one.target.feed(wire.query(b"UPDATE x"))
        one.target.out.clear()
    one.gate.outcomes.append((key, Outcome(status=status)))
    with pytest.raises(BrokenInvariantError):
        one.conclude()


def test_another_view_is_noticed() -> None:
    one = Conversation().run(sends(wire.query(b"SELECT 1")))
    one.settle()
    compare(one)
    one.client += wire.ready(b"I")
    with pytest.raises(BrokenInvariantError, match="directly"):
        compare(one)


def test_a_command_too_many_is_noticed() -> None:
    one = Conversation().run(sends(wire.query(b"SELECT 1")))
    one.step(["t", 0])
    assert one.outstanding is not None
    one.machine.commands.append(one.outstanding)
    with pytest.raises(BrokenInvariantError, match="two commands"):
        one.step(["t", 0])


def test_a_codec_that_reads_otherwise_when_cut_is_noticed() -> None:
    assert codec._frames([wire.SYNC], 64) != codec._frames([wire.FLUSH], 64)


def test_what_is_found_is_made_small() -> None:
    operations: list[Operation] = [
        *sends(wire.query(b"SELECT 1"), wire.SYNC),
        ["x"],
        *sends(b"\xff\xff\xff\xff\xff"),
        ["y"],
    ]

    def fails(shorter: list[Operation]) -> bool:
        return b"\xff" in b"".join(bytes.fromhex(str(item[1])) for item in shorter if item[0] == "c")

    assert shrink(operations, fails) == sends(b"\xff\xff\xff\xff\xff")
    assert problem([["?"]], plain=False) == ""
    assert smaller([["?"], ["y"]], plain=False) == []


def test_a_seed_is_the_same_conversation_for_ever() -> None:
    assert all(conversation(7, profile) == conversation(7, profile) for profile in PROFILES)
    assert {str(operation[0]) for seed in range(200) for operation in conversation(seed, "hostile")} >= set("ctrybxwgl")


# The model, where a gateway could hide behind its mistakes


def direct(*messages: bytes) -> list[str]:
    target = ModelTarget(gateway=False)
    target.feed(b"".join(messages))
    target.flush()
    return [item[:7] for item in view(bytes(target.out))]


def test_the_model_skips_to_sync_and_takes_an_implicit_transaction_back() -> None:
    target = ModelTarget(gateway=False)
    target.feed(wire.parse(b"", b"UPDATE x") + wire.bind(b"", b"") + wire.execute(b"") + wire.execute(b"gone"))
    target.feed(wire.query(b"SELECT 1") + wire.SYNC)
    assert [item[:7] for item in view(bytes(target.out))] == ["1 b''", "2 b''", "C b'UPD", "E 34000", "Z b'I'"]
    assert [(e.ended, e.committed) for e in target.executions] == [(True, False)]


def test_the_model_keeps_its_answers_until_it_is_asked_for_them() -> None:
    target = ModelTarget(gateway=False)
    target.feed(wire.parse(b"", b"SELECT 1"))
    assert not target.out
    target.feed(wire.FLUSH)
    assert view(bytes(target.out)) == ["1 b''"]


def test_the_model_fails_a_transaction_as_a_whole() -> None:
    assert direct(wire.query(b"BEGIN"), wire.query(b"UPDATE fail"), wire.query(b"SELECT 1"), wire.query(b"COMMIT")) == [
        "C b'BEG", "Z b'T'", "E 22012", "Z b'E'", "E 25P02", "Z b'E'", "C b'ROL", "Z b'I'",
    ]  # fmt: skip
