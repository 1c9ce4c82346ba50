"""The session machine as a state machine of hypothesis: client, target, core and clock act in any order.

What holds after each rule and at the end is tests/fuzz/conversation.py's. Other than the seeded generator, hypothesis
looks for the shortest conversation that breaks something.
"""

from __future__ import annotations

import struct

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from enforcers.postgres import wire
from tests.fuzz.conversation import Conversation
from tests.fuzz.generate import TEXTS

texts = st.sampled_from([text.encode() for text in TEXTS])
names = st.sampled_from([b"", b"a", b"__twokey_question"])
portals = st.sampled_from([b"", b"p"])
counts = st.integers(0, 3)


def query(parts: list[bytes]) -> bytes:
    return wire.query(b"; ".join(parts))


def bind(portal: bytes, name: bytes, values: list[bytes | None]) -> bytes:
    return wire.bind(portal, name, values)


messages = st.one_of(
    st.builds(query, st.lists(texts, min_size=1, max_size=3)),
    st.builds(wire.parse, names, texts),
    st.builds(bind, portals, names, st.lists(st.sampled_from([b"1", None]), max_size=2)),
    st.builds(wire.describe, st.sampled_from([b"S", b"P"]), portals),
    st.builds(wire.execute, portals, counts),
    st.builds(wire.close, st.sampled_from([b"S", b"P"]), portals),
    st.sampled_from(
        [
            wire.SYNC,
            wire.SYNC,
            wire.FLUSH,
            wire.message(b"d", b"1\n"),
            wire.message(b"c"),
            wire.message(b"f", b"no\0"),
            wire.message(b"F", struct.pack("!IHHH", 1, 0, 0, 0)),
            wire.message(b"Q", b"no end"),
        ]
    ),
)


class Session(RuleBasedStateMachine):
    """Rules are the operations of tests/fuzz/conversation.py."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Conversation()

    @rule(message=messages)
    def the_client_sends(self, message: bytes) -> None:
        self.one.step(["c", message.hex()])

    @rule(text=texts, portal=portals, rows=counts)
    def the_client_sends_a_pipeline(self, text: bytes, portal: bytes, rows: int) -> None:
        steps = (wire.parse(b"", text), wire.bind(portal, b""), wire.describe(b"P", portal), wire.execute(portal, rows))
        self.one.step(["c", (b"".join(steps) + wire.SYNC).hex()])

    @rule(message=messages, place=st.integers(1, 6))
    def the_client_sends_in_pieces(self, message: bytes, place: int) -> None:
        self.one.step(["c", message[:place].hex()])
        self.one.step(["c", message[place:].hex()])

    @precondition(lambda self: self.one.target.out)
    @rule(count=st.sampled_from([0, 0, 0, 1, 4, 6]))
    def the_target_is_heard(self, count: int) -> None:
        self.one.step(["t", count])

    @precondition(lambda self: self.one.outstanding is not None)
    @rule(way=st.sampled_from([0, 0, 0, 1, 2, 3, 4]))
    def the_core_answers(self, way: int) -> None:
        self.one.step(["r", way])

    @precondition(lambda self: self.one.target.slow)
    @rule()
    def the_target_goes_on(self) -> None:
        self.one.step(["y"])

    @rule()
    def the_targets_buffer_goes_out(self) -> None:
        self.one.step(["f"])

    @rule()
    def the_client_cancels(self) -> None:
        self.one.step(["x"])

    @precondition(lambda self: self.one.cancels)
    @rule()
    def the_cancel_arrives(self) -> None:
        self.one.step(["k"])

    @rule()
    def the_catalog_is_stale(self) -> None:
        self.one.step(["u"])

    @rule(room=st.integers(0, 1))
    def the_window_has_room(self, room: int) -> None:
        self.one.step(["w", room])

    @precondition(lambda self: len(self.one.done) > 6)
    @rule(how=st.sampled_from(["g", "l", "v", "d", "e"]))
    def the_session_ends(self, how: str) -> None:
        self.one.step([how])

    def teardown(self) -> None:
        self.one.conclude()


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
