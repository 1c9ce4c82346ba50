"""Runs of rows: both loops say the same, and what they say is where the messages end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enforcers.postgres import rows, wire

ROW, COPY = ord("D"), ord("d")
MESSAGES = st.lists(
    st.tuples(st.sampled_from([b"D", b"D", b"D", b"d", b"C"]), st.binary(max_size=40)), min_size=1, max_size=8
)


@given(MESSAGES, st.integers(0, 6), st.integers(0, 200), st.integers(0, 30), st.sampled_from([ROW, COPY]))
def test_a_run_ends_with_its_kind_its_limits_or_its_data(
    messages: list[tuple[bytes, bytes]], most: int, room: int, cut: int, kind: int
) -> None:
    frames = [wire.message(name, body) for name, body in messages]
    data = b"".join(frames)
    data = data[: len(data) - cut]
    found = rows.run_indexed(data, 0, kind, most, room)
    assert found == rows.run_unpacked(data, 0, kind, most, room) == rows.run(data, 0, kind, most, room)
    end, count = found
    assert end == sum(map(len, frames[:count]))
    assert all(frame[0] == kind for frame in frames[:count])
    assert count <= most
    assert end - count <= room
    # And no further one would have fitted.
    if count < min(most, len(frames)) and frames[count][0] == kind:
        assert len(data) < end + len(frames[count]) or end - count + len(frames[count]) - 1 > room


@given(st.binary(max_size=60), st.integers(0, 10))
def test_no_bytes_break_it(data: bytes, position: int) -> None:
    for kind in (ROW, COPY):
        found = rows.run_indexed(data, position, kind, 99, 1 << 40)
        assert found == rows.run_unpacked(data, position, kind, 99, 1 << 40)
        assert found[0] <= max(len(data), position)
