"""The recorder hides what it says it hides, and nothing else."""

from __future__ import annotations

import socket
import struct
import threading
from datetime import UTC, datetime

import pytest

from enforcers.postgres import wire
from tests.clients.recorder import Conversation, Recording, Tap, difference

START = struct.pack("!II", 22, wire.PROTOCOL_3_0) + b"user\0someone\0\0"
HELLO = wire.message(b"R", struct.pack("!I", 0)) + wire.parameter_status(b"a", b"b")


def field(name: str, table: int, kind: int) -> bytes:
    return name.encode() + b"\0" + struct.pack("!IhIhih", table, 1, kind, 4, -1, 0)


def described(*fields: bytes) -> bytes:
    return wire.message(b"T", struct.pack("!H", len(fields)) + b"".join(fields))


def recording(server: bytes, client: bytes = b"", *, pid: int = 1, login: bytes = HELLO) -> Recording:
    password = wire.message(b"p", b"secret\0")
    keys = wire.message(b"K", struct.pack("!II", pid, pid * 7))
    return Recording([Conversation(bytearray(START + password + client), bytearray(login + keys + server))])


SAME = [
    (recording(b"", pid=7), recording(b"", pid=8)),
    (recording(b"", login=wire.message(b"R", struct.pack("!I", 3)) + HELLO), recording(b"")),
    (
        recording(described(field("a", 16500, 16501)) + wire.data_row([b"1"]) + wire.data_row([b"16501"])),
        recording(described(field("a", 16700, 16702)) + wire.data_row([b"1"]) + wire.data_row([b"16702"])),
    ),
    (
        recording(described(field("a", 1, 26)) + wire.data_row([b"16500"]), wire.query(b"SELECT 16500")),
        recording(described(field("a", 1, 26)) + wire.data_row([b"16700"]), wire.query(b"SELECT 16700")),
    ),
    (
        recording(wire.message(b"A", struct.pack("!I", 5) + b"c\0p\0")),
        recording(wire.message(b"A", struct.pack("!I", 6) + b"c\0p\0")),
    ),
    (
        recording(wire.data_row([datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00").encode()])),
        recording(wire.data_row([datetime.now(UTC).strftime("%Y-%m-%d 00:00:00+00").encode()])),
    ),
]
DIFFERENT = [
    (recording(wire.data_row([b"1"])), recording(wire.data_row([b"2"]))),
    (recording(wire.data_row([b"1"])), recording(wire.data_row([b"01"]))),
    (recording(wire.data_row([b""])), recording(wire.data_row([None]))),
    (recording(wire.data_row([b"16500"])), recording(wire.data_row([b"16501"]))),
    (recording(wire.data_row([b"2020-01-01 00:00:00"])), recording(wire.data_row([b"2020-01-01 00:00:01"]))),
    (recording(wire.ready(b"I")), recording(wire.ready(b"T"))),
    (recording(wire.ready(b"I")), recording(b"")),
    (recording(wire.ready(b"I")), recording(wire.ready(b"I")[:3])),
    (recording(b"", wire.query(b"a")), recording(b"", wire.query(b"b"))),
    (recording(b"", wire.SYNC), recording(b"")),
    (recording(b"", login=HELLO), recording(b"", login=HELLO + wire.parameter_status(b"c", b"d"))),
    (recording(described(field("a", 1, 23))), recording(described(field("b", 1, 23)))),
    (recording(described(field("a", 1, 23))), recording(described(field("a", 1, 25)))),
    (recording(described(field("a", 16500, 23))), recording(described(field("a", 0, 23)))),
    (
        recording(described(field("a", 16500, 23), field("b", 16500, 23))),
        recording(described(field("a", 16500, 23), field("b", 16501, 23))),
    ),
    (
        recording(wire.fields(b"E", [("C", "42601"), ("M", "m"), ("F", "scan.l")])),
        recording(wire.fields(b"E", [("C", "42601"), ("M", "m")])),
    ),
    (recording(b""), Recording([*recording(b"").conversations, *recording(b"").conversations])),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_a_server_chooses_for_itself_is_no_difference(one: Recording, other: Recording) -> None:
    assert difference(one, other) == ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_everything_else_is(one: Recording, other: Recording) -> None:
    assert difference(one, other) != ""


def test_the_tap_relays_and_keeps_both_directions() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(100):
                    peer.sendall(data.upper())

        answering = threading.Thread(target=answer)
        answering.start()
        with Tap(server.getsockname()) as tap:
            with socket.create_connection(("127.0.0.1", tap.port)) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"HELLO"
            answering.join(10)
        (kept,) = tap.recording.conversations
        assert (kept.client, kept.server) == (b"hello", b"HELLO")


TOLD = b"".join(
    [
        described(field("a", 1, 23), field("b", 0, 25)),
        wire.data_row([b"7", b"seven"]),
        wire.fields(b"N", [("S", "NOTICE"), ("C", "00000"), ("M", "mind the gap")]),
        wire.fields(b"E", [("S", "ERROR"), ("C", "22012"), ("M", "division by zero")]),
        wire.message(b"C", b"SELECT 1\0"),
        wire.message(b"d", b"1\tone\n"),
        wire.ready(b"T"),
    ]
)
ASKED = wire.parse(b"s", b"SELECT $1") + wire.bind(b"", b"s", (b"7",)) + wire.execute(b"") + wire.SYNC


@pytest.mark.parametrize("ours", [True, False], ids=["server", "client"])
def test_no_byte_may_be_another(ours: bool) -> None:
    """Every single bit of what either side says, lengths included: a broken recording may not be readable at all."""
    whole = TOLD if ours else ASKED
    unseen = []
    for place in range(len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            one, other = (
                recording(bytes(told) if ours else TOLD, ASKED if ours else bytes(told)) for told in (whole, broken)
            )
            try:
                if difference(one, other) == "":
                    unseen.append((place, bit))
            except (ValueError, struct.error, IndexError, UnicodeDecodeError):
                continue
    assert unseen == []
