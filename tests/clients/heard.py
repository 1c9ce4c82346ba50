"""Which ways of speaking a recorded conversation has used: what docs/clients.md says that each client does in its test.

Read off the messages themselves, so that a talk which no longer does a thing can't go on being listed with it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence, Set

from tests.clients.recorder import Conversation, Message, Recording, client_messages, server_messages

WAYS = (
    "simple",  # Query
    "extended",  # Parse, Bind, Execute
    "binary",  # a value in binary format, either way
    "copy in",
    "copy out",
    "cursor",  # rows a few at a time: by a portal's row limit, or FETCH
    "listen",  # NotificationResponse
    "cancel",  # CancelRequest
    "savepoint",
    "error",
    "notice",
    "batch",  # several statements before an answer is waited for: of one Query, or in front of one Sync
)
_CURSOR = re.compile(rb"\s*(FETCH|MOVE)\b", re.IGNORECASE)
_SAVEPOINT = re.compile(rb"(^|;)\s*SAVEPOINT\b", re.IGNORECASE)


def heard(*recordings: Recording) -> set[str]:
    """The WAYS of these conversations."""
    found: set[str] = set()
    for recording in recordings:
        for conversation in recording.conversations:
            client = list(client_messages(conversation.client))
            asked = sum(message.kind in {"SSLRequest", "GSSENCRequest"} for message in client)
            server = list(server_messages(conversation.server, encryption_answers=asked))
            found |= {way for message in client for way in _said(message)}
            found |= {way for message in server for way in _answered(message)}
            # Executed twice before a Sync; or more than one statement completed before a ReadyForQuery.
            if _twice(client, "E", ends={"S", "Q"}) or _twice(server, "C", ends={"Z"}):
                found.add("batch")
    return found


def _said(message: Message) -> Iterator[str]:
    kind, body = message.kind, message.body
    text = b""
    if kind == "CancelRequest":
        yield "cancel"
    elif kind == "Q":
        yield "simple"
        text = body
    elif kind == "P":
        text = body[body.index(0) + 1 :]
    elif kind == "B":
        if _binary(body):
            yield "binary"
    elif kind == "E":
        yield "extended"
        if struct.unpack("!I", body[-4:])[0]:
            yield "cursor"
    if _CURSOR.match(text):
        yield "cursor"
    if _SAVEPOINT.search(text):
        yield "savepoint"


def _binary(bind: bytes) -> bool:
    """Does a Bind send or ask for a value in binary format?"""
    at = bind.index(0, bind.index(0) + 1) + 1
    formats, at = _shorts(bind, at)
    (values,) = struct.unpack_from("!H", bind, at)
    at += 2
    for _ in range(values):
        at += 4 + max(struct.unpack_from("!i", bind, at)[0], 0)
    return 1 in formats or 1 in _shorts(bind, at)[0]


def _shorts(data: bytes, at: int) -> tuple[Sequence[int], int]:
    (count,) = struct.unpack_from("!H", data, at)
    return struct.unpack_from(f"!{count}H", data, at + 2), at + 2 + 2 * count


def _answered(message: Message) -> Iterator[str]:
    ways = {"G": "copy in", "H": "copy out", "A": "listen", "E": "error", "N": "notice"}
    if message.kind in ways:
        yield ways[message.kind]


def _twice(messages: Sequence[Message], kind: str, *, ends: Set[str]) -> bool:
    """More than one message of `kind` before one of the kinds in `ends`."""
    found = 0
    for message in messages:
        if message.kind in ends:
            found = 0
        elif message.kind == kind:
            found += 1
            if found > 1:
                return True
    return False


def documented(page: str) -> dict[str, set[str]]:
    """The table of docs/clients.md that begins with `| in its test`: by client, the ways that are marked."""
    lines = page.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("| in its test")]
    header = _cells(lines[first])[1:]
    found = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = _cells(line)
        found[name] = {way for way, cell in zip(header, cells, strict=True) if cell.startswith("✓")}
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def conversation_of(client: bytes, server: bytes) -> Recording:
    """For tests: one connection."""
    return Recording([Conversation(bytearray(client), bytearray(server))])
