"""Results through the reply scanner: however they are cut, what passes, what is masked, and what is counted."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twokey.type.v1 import operation_pb2

from enforcers.core.errors import EnforcerError
from enforcers.core.ports import Act, Duties, MaskedColumn
from enforcers.postgres import wire
from enforcers.postgres.description import Control, Description
from enforcers.postgres.machine_replies import Replies
from enforcers.postgres.machine_state import Capture, Expect, Kind, Running
from enforcers.postgres.masking import row_masker
from tests.enforcers.postgres.fakes import ALLOW

TRAILER = wire.message(b"d", b"\xff\xff")
DONE = wire.message(b"C", b"SELECT 1\0")
TEXT = wire.FieldDescription(b"c", 0, 0, 25, -1, -1, 0)
READ = Description(
    text=b"",
    template=operation_pb2.SqlOperation(),
    shape_digest=b"",
    static_digest=b"",
    control=Control.NONE,
    parameters=0,
    writes_or_locks=False,
    changes_names=False,
    ddl=False,
    makes_temporary=False,
    copy_in=False,
    copy_out=False,
    utility=False,
    single_transaction=False,
    can_estimate=True,
    cannot_estimate_why="",
    verification=None,
)


class Follower:
    """Counts; nothing follows from a reply here."""

    def __init__(self) -> None:
        self.completions: list[str] = []
        self.failures: list[str] = []
        self.stopped = 0

    def ended(self, running: Running, status: str, *, tag: str = "", sqlstate: str = "", error: str = "") -> None:
        self.failures.append(sqlstate)

    def completed(self, running: Running, tag: str, *, alone: bool) -> None:
        self.completions.append(tag)

    def settled(self, status: int) -> None: ...

    def failed(self, dropped: list[Expect], *, until_sync: bool, told: bool) -> None: ...

    def captured(self, capture: Capture) -> None: ...

    def copying(self) -> None: ...

    def setting(self, name: bytes) -> None: ...

    def over_limit(self, running: Running) -> None:
        self.stopped += 1

    def answer(self, expect: Expect) -> bytes | None:
        return None

    def undo(self, running: Running) -> None: ...

    def undo_block(self) -> None: ...

    def suspended(self, running: Running) -> None: ...

    def parameters(self, expect: Expect, types: tuple[int, ...]) -> None: ...


def running(*, rows: int | None, size: int | None, mask: str, header: bool) -> Running:
    ruling = dataclasses.replace(ALLOW, duties=Duties(max_rows=rows, max_bytes=size))
    act = Act(operation="op_1", ruling=ruling, digest=b"", shape_digest=b"", statement=b"")
    one = Running(act, dataclasses.replace(READ, copy_header=header, copy_out=header))
    if mask:
        column = MaskedColumn(schema="s", relation="r", column="c", label="l", masker=mask, keep=1)
        one.masker = row_masker([(None, TEXT), (column, TEXT)])
    return one


def fed(one: Running, kind: Kind, stream: bytes, cuts: list[int]) -> tuple[bytes, Follower]:
    follower = Follower()
    replies = Replies(follower)
    replies.expects.append(Expect(kind, acts=(one,)))
    out, position, turn = b"", 0, 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        replies.feed(stream[position : position + size])
        out += b"".join(replies.out)
        replies.out.clear()
        position, turn = position + size, turn + 1
    return out, follower


def masked(row: tuple[bytes | None, bytes | None], mask: str) -> bytes:
    first, second = row
    if second is not None and mask == "null":
        second = None
    elif second is not None and mask == "keep-last":
        second = b"*" * (len(second) - 1) + second[-1:] if len(second) > 1 else b"*" * len(second)
    return wire.data_row([first, second])


CELLS = st.none() | st.text("abc", max_size=9).map(str.encode)
TABLE = st.lists(st.tuples(CELLS, CELLS), max_size=9)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=20)
KINDS = st.sampled_from([Kind.QUERY, Kind.EXECUTE])
LIMIT = st.none() | st.integers(1, 8)
CAP = st.none() | st.integers(1, 200)
FRAMING = st.sampled_from(["", "header", "trailer"])
MASKS = st.sampled_from(["", "null", "keep-last"])


@given(TABLE, CUTS, KINDS, LIMIT, CAP, MASKS)
@example([(b"a", b"b")] * 3, [1], Kind.EXECUTE, 3, None, "")
@example([(b"a", b"b")] * 3, [7], Kind.QUERY, 2, None, "null")
def test_rows_pass_within_their_limits_however_they_are_cut(
    table: list[tuple[bytes | None, bytes | None]],
    cuts: list[int],
    kind: Kind,
    limit: int | None,
    cap: int | None,
    mask: str,
) -> None:
    frames = [wire.data_row(row) for row in table]
    wanted, count, size = [], 0, 0
    for row, frame in zip(table, frames, strict=True):
        over = (limit is not None and count >= limit) or (cap is not None and size + len(frame) - 1 > cap)
        if over:
            break
        wanted.append(masked(row, mask))
        count, size = count + 1, size + len(frame) - 1
    one = running(rows=limit, size=cap, mask=mask, header=False)
    out, follower = fed(one, kind, b"".join(frames) + DONE, cuts)
    whole = count == len(table)
    assert one.rows == count
    assert one.bytes == size
    assert one.limited is not whole
    assert out.startswith(b"".join(wanted))
    rest = out[sum(map(len, wanted)) :]
    assert rest == DONE if whole else rest[:1] == b"E"
    assert (follower.completions, follower.failures) == ((["SELECT 1"], []) if whole else ([], ["54000"]))


@given(st.lists(st.binary(max_size=12), max_size=8), CUTS, KINDS, LIMIT, FRAMING)
@example([b"ab", b"cd"], [1], Kind.QUERY, 2, "trailer")  # the trailer, cut in two, is no third row
@example([b"x" + TRAILER], [99], Kind.QUERY, 1, "")  # a row that ends as the trailer does is a row
@example([b"x" + TRAILER] * 2, [19], Kind.QUERY, 1, "")
@example([b"name"], [3], Kind.EXECUTE, 1, "header")
def test_copied_rows_are_counted_without_header_and_trailer(
    lines: list[bytes], cuts: list[int], kind: Kind, limit: int | None, framing: str
) -> None:
    header, trailer = framing == "header", framing == "trailer"  # of CSV and text, and of the binary format
    lines = [line for line in lines if line != b"\xff\xff"]
    frames = [wire.message(b"d", line) for line in lines]
    heading = int(header and bool(frames))
    allowed = len(frames) if limit is None else min(len(frames), limit + heading)
    tail = TRAILER if trailer else b""
    one = running(rows=limit, size=None, mask="", header=header)
    out, follower = fed(one, kind, b"".join(frames) + tail + wire.message(b"c") + DONE, cuts)
    whole = allowed == len(frames)
    assert one.rows == allowed - heading
    assert one.bytes == sum(len(frame) - 1 for frame in frames[:allowed])
    assert one.limited is not whole
    passed = b"".join(frames[:allowed])
    assert out.startswith(passed)
    if whole:
        assert out == passed + tail + wire.message(b"c") + DONE
        assert follower.failures == []
    else:
        assert follower.failures == ["54000"]
        assert b"".join(frames[allowed : allowed + 1]) not in out[len(passed) :]


@pytest.mark.parametrize("mask", ["null", "keep-last"])
@given(data=st.binary(min_size=1, max_size=40), at=st.integers(5, 30), cuts=CUTS)
def test_a_broken_row_under_a_mask_passes_nothing_of_itself(data: bytes, at: int, cuts: list[int], mask: str) -> None:
    """The target lies about a row: one error class, or a row whose masked cell is masked."""
    row = bytearray(wire.data_row([b"open", b"SECRET-SECRET"]))
    row[at : at + len(data)] = data[: max(0, len(row) - at)]
    one = running(rows=None, size=None, mask=mask, header=False)
    try:
        out, _ = fed(one, Kind.QUERY, bytes(row), cuts)
    except EnforcerError:
        return
    if out:
        reader = wire.Reader(out, 7)
        reader.take(max(0, reader.int32()))
        second = reader.int32()
        cell = reader.take(max(0, second))
        shown = cell.decode("utf-8", "replace")  # keep-last counts characters
        assert second == -1 or (mask == "keep-last" and set(shown[:-1]) <= {"*"})
