"""Each way of speaking is found where it was used, and nowhere else; the table of docs/clients.md is read as it is."""

from __future__ import annotations

import struct

import pytest

from enforcers.postgres import wire
from tests.clients.heard import WAYS, conversation_of, documented, heard

START = struct.pack("!II", 8, 196608)
READY = wire.ready(b"I")


def tag(text: bytes) -> bytes:
    return wire.message(b"C", text + b"\0")


@pytest.mark.parametrize(
    ("client", "server", "ways"),
    [
        (b"", READY, set()),
        (wire.query(b"SELECT 1"), tag(b"SELECT 1") + READY, {"simple"}),
        (wire.query(b"SELECT 1; SELECT 2"), tag(b"SELECT 1") * 2 + READY, {"simple", "batch"}),
        (wire.query(b"SELECT 1") * 2, (tag(b"SELECT 1") + READY) * 2, {"simple"}),
        (wire.query(b"savepoint x"), READY, {"simple", "savepoint"}),
        (wire.query(b"SELECT 'SAVEPOINT x'"), READY, {"simple"}),
        (wire.query(b"fetch 2 from c"), READY, {"simple", "cursor"}),
        (wire.parse(b"a", b"FETCH 1 FROM c"), b"", {"cursor"}),
        (wire.bind(b"", b"", [b"1", None]) + wire.execute(b"") + wire.SYNC, READY, {"extended"}),
        (wire.bind(b"", b"", [b"\0\0\0\1"], formats=[1]), b"", {"binary"}),
        (wire.execute(b"", 3) + wire.SYNC, READY, {"extended", "cursor"}),
        ((wire.execute(b"") + wire.SYNC) * 2, READY * 2, {"extended"}),
        (wire.execute(b"") * 2 + wire.SYNC, READY, {"extended", "batch"}),
        (b"", wire.message(b"G", b"") + wire.message(b"H", b""), {"copy in", "copy out"}),
        (
            b"",
            wire.message(b"A", b"") + wire.message(b"E", b"") + wire.message(b"N", b""),
            {"listen", "error", "notice"},
        ),
    ],
)
def test_what_was_used_is_found(client: bytes, server: bytes, ways: set[str]) -> None:
    assert heard(conversation_of(START + client, server)) == ways


def test_a_result_in_binary_format_is_found() -> None:
    asked = wire.message(b"B", b"\0\0" + struct.pack("!HHHH", 0, 0, 1, 1))
    assert heard(conversation_of(START + asked, b"")) == {"binary"}


def test_a_cancel_request_is_found() -> None:
    assert heard(conversation_of(struct.pack("!IIII", 16, 80877102, 1, 2), b"")) == {"cancel"}


def test_the_table_is_read_as_written() -> None:
    page = (
        "text\n\n| in its test | simple | copy in |\n|---|---|---|\n| psql | ✓ | |\n| a driver | – | ✓ |\n\n| other |\n"
    )
    assert documented(page) == {"psql": {"simple"}, "a driver": {"copy in"}}


def test_every_way_is_a_column_of_the_page() -> None:
    from tests.clients.test_talks import CLIENTS, NAMES, PAGE  # noqa: PLC0415 - what it is about

    told = documented(PAGE.read_text(encoding="utf-8"))
    assert set().union(*told.values()) == set(WAYS)
    assert {NAMES.get(client, client) for client in CLIENTS} <= told.keys()
