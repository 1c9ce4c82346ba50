"""The bench's bare relay passes every byte once and in order, however the target's messages are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enforcers.postgres import wire
from tests.bench.relay import FromTarget

MESSAGES = st.lists(st.tuples(st.sampled_from([b"D", b"T", b"C", b"Z"]), st.binary(max_size=30)), max_size=12)


@given(MESSAGES, st.lists(st.integers(1, 25), min_size=1, max_size=30))
def test_every_byte_passes_in_order(messages: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(wire.message(kind, body) for kind, body in messages)
    relay, passed, position, turn = FromTarget(), b"", 0, 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        passed += relay.split(data[position : position + size])
        position, turn = position + size, turn + 1
        assert data.startswith(passed)
        assert len(data[:position]) - len(passed) < 5  # at most a part of one header waits
    assert passed == data
