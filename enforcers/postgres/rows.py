"""Runs of rows: how far a result's DataRow or CopyData messages reach, without a look at any of them but its header.

Bulk results are nearly all of what passes a gateway, and each message of them costs what this loop costs. Compiled
(ADR 11), bytes are indexed in C, a tenth of what a call of struct takes; interpreted it is the other way round.

Source: PostgreSQL documentation, "DataRow" and "CopyData" in "Message Formats".
"""

from __future__ import annotations

from typing import Final

from enforcers.postgres import wire

COMPILED: Final = not __file__.endswith(".py")


def run(data: bytes, position: int, kind: int, most: int, room: int) -> tuple[int, int]:
    """Where the whole messages of `kind` that stand from `position` on end, and how many they are.

    At most `most` of them, and at most `room` bytes by their own lengths (each one's frame less its type byte)."""
    if COMPILED:
        return run_indexed(data, position, kind, most, room)
    return run_unpacked(data, position, kind, most, room)


def run_indexed(data: bytes, position: int, kind: int, most: int, room: int) -> tuple[int, int]:
    size = len(data)
    last = size - 5  # where the last header may begin
    count = 0
    while position <= last and count < most and data[position] == kind:
        length = data[position + 1] << 24 | data[position + 2] << 16 | data[position + 3] << 8 | data[position + 4]
        end = position + 1 + length
        if end > size or length < 4 or length > room:
            break
        room -= length
        position = end
        count += 1
    return position, count


def run_unpacked(data: bytes, position: int, kind: int, most: int, room: int) -> tuple[int, int]:
    unpack = wire.HEADER.unpack_from
    size = len(data)
    last = size - 5
    count = 0
    while position <= last and count < most:
        found, length = unpack(data, position)
        end = position + 1 + length
        if found != kind or end > size or length < 4 or length > room:
            break
        room -= length
        position = end
        count += 1
    return position, count
