"""The codec alone: whatever bytes come, in whatever pieces, each function gives its result or a ProtocolError.

Cutting the bytes elsewhere changes nothing; what is buffered stays below the bound; what was built is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from enforcers.core.errors import ProtocolError
from enforcers.postgres import wire
from enforcers.postgres.startup import StartupFramer
from tests.fuzz.conversation import BrokenInvariantError
from tests.fuzz.generate import broken_messages, cut

Parser = Callable[[bytes], object]
PARSERS: tuple[Parser, ...] = (
    wire.parse_query,
    wire.parse_parse,
    wire.parse_bind,
    wire.parse_execute,
    wire.parse_target,
    wire.parse_password,
    wire.parse_row_description,
    wire.parse_parameter_description,
    wire.parse_data_row,
    wire.parse_fields,
    wire.parse_parameter_status,
    wire.parse_key_data,
)
_SMALL_MAXIMUM = 64  # so that messages above the maximum, which are skipped and not kept, come often


def check(random: Random) -> None:
    """One input. Raises BrokenInvariantError, or what no codec may raise."""
    draw = random.random()
    if draw < 0.45:
        check_framer(random)
    elif draw < 0.9:
        check_parsers(random)
    else:
        check_startup(random)


def check_framer(random: Random) -> None:
    data = b"".join(broken_messages(random))
    maximum = random.choice((_SMALL_MAXIMUM, wire.MAX_MESSAGE_BYTES))
    whole = _frames([data], maximum)
    if _frames(cut(random, data), maximum) != whole:
        raise BrokenInvariantError(f"cut elsewhere, {data!r} is read otherwise")


def _frames(pieces: list[bytes], maximum: int) -> tuple[list[wire.Frame], str]:
    framer = wire.ClientFramer(max_message=maximum)
    found: list[wire.Frame] = []
    for place, piece in enumerate(pieces):
        try:
            found += framer.feed(piece)
        except ProtocolError as error:
            _stays_broken(framer)
            # What stands before the broken message may or may not have been given out; it is never acted on after it.
            del place
            return [], str(error)
        if framer.buffered > maximum + 5:
            raise BrokenInvariantError("more is buffered than the largest message")
    return found, ""


def _stays_broken(framer: wire.ClientFramer) -> None:
    try:
        framer.feed(wire.SYNC)
    except ProtocolError:
        return
    raise BrokenInvariantError("a framer went on after a protocol error")


def check_parsers(random: Random) -> None:
    for raw in broken_messages(random)[:3]:
        if len(raw) >= 5:
            for parser in random.sample(PARSERS, 3):
                try:
                    parser(raw)
                except ProtocolError:
                    continue


def check_startup(random: Random) -> None:
    packet = bytearray(
        random.choice(
            (
                wire.startup_packet([(b"user", b"executor"), (b"database", b"crm"), (b"options", b"-c a=b\\ c")]),
                wire.cancel_request(7, b"abcd"),
                (8).to_bytes(4, "big") + wire.SSL_REQUEST.to_bytes(4, "big"),
                random.randbytes(random.randrange(40)),
            )
        )
    )
    for _ in range(random.randrange(4)):
        if packet:
            packet[random.randrange(len(packet))] = random.randrange(256)
    framer = StartupFramer()
    try:
        for piece in cut(random, bytes(packet)):
            framer.feed(piece)
    except ProtocolError:
        return
