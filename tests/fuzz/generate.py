"""Conversations by a seed: units of messages as clients send them, put out of order, broken, cut up and interleaved.

Three profiles: `plain` holds only what a direct client could see as well (its view is compared); `policy` has every
kind of decision and every way a session ends; `hostile` breaks bytes, lengths and order of both sides.
"""

from __future__ import annotations

import struct
from random import Random

from enforcers.postgres import wire
from tests.fuzz.conversation import Operation

PROFILES = ("plain", "policy", "hostile")
_NAMES = (b"", b"", b"", b"a", b"b", b"__twokey_question")
_PORTALS = (b"", b"", b"", b"p", b"q")
_PLAIN = (
    "SELECT 1", "SELECT 3", "SELECT 5", "SELECT 0", "SELECT 4 slow", "SELECT 2 fail", "UPDATE x", "INSERT x",
    "INSERT deferred", "UPDATE fail", "UPDATE slow", "UPDATE deny", "SELECT 3 deny", "BEGIN", "COMMIT", "ROLLBACK",
    "SAVEPOINT a", "ROLLBACK TO a", "SET TRANSACTION READ ONLY", "SET search_path public", "SET work_mem 1",
    "SHOW work_mem", "DO opaque", "DELETE notice", "CREATE TABLE x", "CREATE TEMP TABLE x", "DROP x", "VACUUM x",
    "COPY t FROM stdin", "COPY t TO stdout", "COPY t FROM stdin fail", "syntax", "", "PREPARE z", "DEALLOCATE a",
    "DEALLOCATE z", "SELECT 1 leased", "UPDATE leased", "SELECT 3 estimate",
)  # fmt: skip
_POLICY = (
    *_PLAIN, "DELETE held", "SELECT 3 held", "SELECT 5 limited", "SELECT 2 limited", "SELECT 5 limited slow",
    "SELECT 3 masked", "SELECT 4 masked fail", "SELECT 5 masked limited", "UPDATE readonly", "SELECT 2 timeout",
    "DELETE held verified", "DELETE held verified functions", "SELECT 3 masked verified",
    "DELETE verified changed held", "SELECT 2 masked verified functions", "SELECT 5 limited leased",
    "SELECT 3 masked leased", "COPY t TO stdout limited", "EXECUTE z", "DECLARE c", "FETCH c",
    "SET standard_conforming_strings",
    "COPY t FROM stdin held", "SELECT 3 masked deny",
    "SELECT 5 bytes", "COPY t TO stdout bytes", "SELECT 5 duration slow", "UPDATE duration slow", "UPDATE limited slow",
    "SELECT 5 bytes masked", "COPY t FROM stdin bytes", "COPY t FROM stdin limited", "SELECT 3 duration leased",
    "INSERT held deferred", "DELETE limited", "UPDATE masked",
)  # fmt: skip
TEXTS = _POLICY
_ENDS: tuple[Operation, ...] = (["g"], ["l"], ["v"], ["d"], ["e"])


def conversation(seed: int, profile: str) -> list[Operation]:
    """The operations of one conversation."""
    random = Random(f"{profile} {seed}")
    messages = _messages(random, _PLAIN if profile == "plain" else _POLICY)
    if profile == "hostile":
        messages = break_messages(random, messages)
    return _scheduled(random, _chunks(random, messages), profile)


# What a client sends


def _messages(random: Random, texts: tuple[str, ...]) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(random.choice((1, 1, 2, 3, 5, 9))):
        found += random.choice((_simple, _simple, _extended, _extended, _extended, _odd))(random, texts)
    return found


def _text(random: Random, texts: tuple[str, ...]) -> bytes:
    return random.choice(texts).encode()


def _simple(random: Random, texts: tuple[str, ...]) -> list[bytes]:
    count = random.choice((1, 1, 1, 1, 2, 3))
    text = b"; ".join(_text(random, texts) for _ in range(count))
    return [wire.query(text), *_copy_data(random, text)]


def _copy_data(random: Random, text: bytes) -> list[bytes]:
    if b"stdin" not in text or random.random() < 0.2:
        return []
    found = [wire.message(b"d", b"1\n") for _ in range(random.randrange(3))]
    return [*found, random.choice((wire.message(b"c"), wire.message(b"c"), wire.message(b"f", b"no\0")))]


def _extended(random: Random, texts: tuple[str, ...]) -> list[bytes]:
    """A pipeline, mostly well formed."""
    found: list[bytes] = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        name, portal, text = random.choice(_NAMES), random.choice(_PORTALS), _text(random, texts)
        values = tuple(random.choice((b"1", b"", None, b"\xff")) for _ in range(random.choice((0, 0, 0, 1, 2))))
        formats = random.choice(((), (0,), (1,)))
        steps = [
            wire.parse(name, text, random.choice(((), (25,), (0, 23)))),
            wire.describe(b"S", name),
            wire.bind(portal, name, values, formats=formats, result_formats=random.choice(((), (0,), (1,)))),
            wire.describe(b"P", portal),
            wire.execute(portal, random.choice((0, 0, 0, 1, 2, 3))),
        ]
        keep = random.choice((0b11111, 0b10101, 0b11101, 0b11101, random.randrange(32)))
        found += [step for place, step in enumerate(steps) if keep >> place & 1]
        found += _copy_data(random, text)
        if random.random() < 0.2:
            found.append(wire.execute(portal, random.choice((0, 1))))
        if random.random() < 0.15:
            found.append(random.choice((wire.FLUSH, wire.SYNC, wire.close(b"S", name), wire.close(b"P", portal))))
    if random.random() < 0.85:
        found.append(wire.SYNC)
    return found


def _odd(random: Random, texts: tuple[str, ...]) -> list[bytes]:
    return [
        random.choice(
            (
                wire.SYNC,
                wire.FLUSH,
                wire.message(b"F", struct.pack("!IHHH", 1, 0, 0, 0)),
                wire.message(b"d", b"x"),
                wire.message(b"c"),
                wire.message(b"f", b"\0"),
                wire.execute(random.choice(_PORTALS)),
                wire.describe(random.choice((b"S", b"P")), random.choice(_NAMES)),
                wire.close(random.choice((b"S", b"P")), random.choice(_NAMES[:5])),
                wire.bind(random.choice(_PORTALS), random.choice(_NAMES)),
                wire.query(_text(random, texts)),
            )
        )
    ]


# What an attacker makes of it


def broken_messages(random: Random) -> list[bytes]:
    return break_messages(random, _messages(random, _POLICY))


def break_messages(random: Random, messages: list[bytes]) -> list[bytes]:
    for _ in range(random.randrange(4)):
        place = random.randrange(len(messages) + 1)
        kind = random.randrange(9)
        one = messages[place] if place < len(messages) else b""
        if kind == 0 and one:
            del messages[place]
        elif kind == 1 and one:
            messages.insert(random.randrange(len(messages)), one)
        elif kind == 2:
            random.shuffle(messages)
        elif kind == 3 and one:
            flipped = bytearray(one)
            flipped[random.randrange(len(one))] ^= 1 << random.randrange(8)
            messages[place] = bytes(flipped)
        elif kind == 4 and one:
            messages[place] = one[: random.randrange(len(one))]
        elif kind == 5:
            messages.insert(place, random.randbytes(random.choice((1, 5, 20))))
        elif kind == 6:
            length = random.choice((0, 3, 4, 5, 10_001, 1 << 24, (1 << 24) + 1, 0x7FFFFFFF, 0xFFFFFFFF))
            messages.insert(place, bytes([random.choice(b"QPBEDCSHXdcfFpzv\0\xff")]) + length.to_bytes(4, "big"))
        elif kind == 7 and len(one) > 5:
            messages[place] = wire.message(one[:1], one[5:] + random.choice((b"\0", b"x", b"\xff" * 4)))
        elif kind == 8 and random.random() < 0.3:
            messages.insert(place, wire.TERMINATE)
    return messages


def _chunks(random: Random, messages: list[bytes]) -> list[bytes]:
    """Cut up, never put in another order."""
    way = random.randrange(3)
    if way == 0:
        return messages
    data = b"".join(messages)
    if way == 1:
        return [data]
    return cut(random, data)


def cut(random: Random, data: bytes) -> list[bytes]:
    """Into single bytes, or pieces of any size."""
    if random.random() < 0.4 and len(data) < 300:
        return [data[place : place + 1] for place in range(len(data))]
    found = []
    while data:
        count = random.randrange(1, 40)
        found.append(data[:count])
        data = data[count:]
    return found


def _scheduled(random: Random, chunks: list[bytes], profile: str) -> list[Operation]:
    found: list[Operation] = []
    eager = random.random()  # how much happens between two of the client's chunks
    ends = profile != "plain" and random.random() < 0.4
    for chunk in chunks:
        found.append(["c", chunk.hex()])
        while random.random() < eager * 0.8:
            found.append(_happening(random, profile))
    if ends:
        found.insert(random.randrange(len(found) + 1), random.choice(_ENDS))
    return found


def _happening(random: Random, profile: str) -> Operation:
    draw = random.random()
    if draw < 0.45:
        return ["r", 0 if profile == "plain" or random.random() < 0.8 else random.randrange(6)]
    if draw < 0.8:
        return ["t", random.choice((0, 0, 1, 2, 5, 7, 30))]
    if draw < 0.86:
        return ["y"]
    if draw < 0.9:
        return ["f"]
    if draw < 0.92:
        return ["u"]
    if draw < 0.95:
        return ["k"]
    if profile == "plain":
        return ["t", 0]
    if draw < 0.97:
        return ["x"]
    if draw < 0.98:
        return ["a"]
    if profile == "hostile" and draw < 0.985:
        return ["b", _from_target(random).hex()]
    return ["w", random.randrange(2)]


def _from_target(random: Random) -> bytes:
    """What a broken target might say."""
    kind = bytes([random.choice(b"123CDEGHINRSTWZAcdnstv\0")])
    body = random.choice(
        (b"", b"\0", b"I", b"X", b"\xff\xff", b"\0\1\0\0\0\xff", b"C42\0\0", b"SELECT 1\0", b"\0\1c\0")
    )
    message = wire.message(kind, body)
    return message if random.random() < 0.8 else message[:1] + random.randbytes(4) + message[5:]
