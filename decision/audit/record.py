"""The one encoding of a record: canonical JSON, so that the same facts are always the same bytes.

RFC 8785 (JCS) restricted to what has one spelling everywhere: strings, integers within 2**53, booleans, null,
arrays, and objects with ASCII keys (docs/decisions/0002-record-encoding.md). Floats are refused, not rounded;
bytes travel as base64 strings, times as RFC 3339 UTC with microseconds.
"""

from __future__ import annotations

import zlib
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from decision.errors import RecordError
from decision.model import JSON

VERSION = 1
KINDS = frozenset(
    {
        "started",
        "stopped",
        "policy",
        "session-opened",
        "session-denied",
        "session-closed",
        "decision",
        "act",
        "approval",
        "plan",
        "question",
        "call-denied",
        "evaluation",
        "credential-issued",
        "token-exchanged",
        "revoked",
        "log-read",
        "unwritten",
    }
)
MAX_INTEGER = (1 << 53) - 1
MAX_DEPTH = 64
_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_MAX_REMEMBERED = 128  # characters of a text whose spelling is remembered
_HEADER = frozenset({"v", "index", "time", "kind"})


class RecordFormatError(RecordError):
    """The value has no canonical form. The caller's fault, not the disk's."""


def check(value: object, *, depth: int = 0) -> int:
    """Raise RecordFormatError unless `value` is inside the restricted subset.

    About how much memory it holds: the length of its texts, and 8 bytes for everything else. One walk for both, with
    the usual values looked at in place: this runs for every act of every session.
    """
    kind = type(value)
    if kind is dict:
        _check_depth(depth)
        size = 8
        for key, item in value.items():  # type: ignore[attr-defined] # a dict, as its type says
            if type(key) is not str or not key.isascii():
                raise RecordFormatError("a key of a record is an ASCII string")
            if type(item) is str and item.isascii():
                size += len(item) + 8
            elif item is None or item is False or item is True:
                size += 8
            else:
                size += check(item, depth=depth + 1)
        return size
    if kind is list or kind is tuple:
        _check_depth(depth)
        size = 8
        for item in value:  # type: ignore[attr-defined] # as above
            size += check(item, depth=depth + 1)
        return size
    if type(value) is str:
        _check_text(value)
        return len(value) + 8
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise RecordFormatError("an integer beyond 2**53 has no canonical form")
    elif value is not None and kind is not bool:
        raise RecordFormatError(f"a {kind.__name__} has no canonical form")
    return 8


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecordFormatError(f"a record is nested deeper than {MAX_DEPTH}")


def _check_text(value: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RecordFormatError("a lone surrogate has no canonical form") from None


def encode(value: object) -> bytes:
    """The canonical bytes of `value`. Raises RecordFormatError."""
    check(value)
    return encode_checked(value)


def encode_checked(value: object) -> bytes:
    """As encode, for a value that passed `check`."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise RecordFormatError("the record can't be encoded") from error


class Checked(dict[str, object]):
    """A body that was checked while it was built, so that it isn't walked again. `size`: as `check` gives it, about."""

    __slots__ = ("size",)

    def __init__(self, body: dict[str, object], size: int) -> None:
        super().__init__(body)
        self.size = size


def with_spelt(body: JSON, spelt: Mapping[str, bytes]) -> Checked:
    """The body, with members that are spelt already in the place of its own or beside them. Raises RecordFormatError.

    What is spelt was made by `encode`; or by `encode_checked` of what its builder keeps within the subset by
    construction: a document of fixed names made from typed messages, without floats.
    """
    own = {name: value for name, value in body.items() if name not in spelt}
    if not _HEADER.isdisjoint(own) or not _HEADER.isdisjoint(spelt):
        raise RecordFormatError("a record's body can't set its header")
    size = check(own) + sum(map(len, spelt.values()))
    return Checked({**own, **{name: orjson.Fragment(value) for name, value in spelt.items()}}, size)


def joined(one: Checked, other: Checked) -> Checked:
    """The body of both's members. Raises RecordFormatError where they share a name."""
    both = Checked({**one, **other}, one.size + other.size)
    if len(both) != len(one) + len(other):
        raise RecordFormatError("a record's body has each of its names once")
    return both


class Encoded(Mapping[str, object]):
    """A body that its builder has spelt already, byte for byte as `encode` would: what is recorded thousands of times
    a second, and always has the same members.

    `members`: those of the record between "index" and "time", "kind" among them, as they stand in it. As a mapping it
    is what they say.
    """

    __slots__ = ("kind", "members")

    def __init__(self, kind: str, members: bytes) -> None:
        self.kind = kind
        self.members = members

    def __getitem__(self, key: str) -> object:
        return self._document()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._document())

    def __len__(self) -> int:
        return len(self._document())

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = orjson.loads(b"{%b}" % self.members)
        del document["kind"]  # the header's
        return document


def quoted(text: str) -> str:
    """A text as canonical JSON spells it. Raises RecordFormatError."""
    return _quoted(text) if len(text) <= _MAX_REMEMBERED else encode(text).decode()


@lru_cache(4096)
def _quoted(text: str) -> str:
    return encode(text).decode()


def check_body(kind: str, body: JSON) -> int:
    """A record's own fields: a known kind, none of the header's names. Its size. Raises RecordFormatError."""
    if type(body) is Encoded:
        if body.kind != kind:
            raise RecordFormatError(f"what is spelt as {body.kind!r} is no {kind!r}")
        return len(body.members)
    if kind not in KINDS:
        raise RecordFormatError(f"{kind!r} is not a kind of record")
    if type(body) is Checked:
        return body.size
    if not _HEADER.isdisjoint(body):
        raise RecordFormatError("a record's body can't set its header")
    return check(body if type(body) is dict else dict(body))


def line(index: int, time: str, kind: str, body: Mapping[str, object]) -> bytes:
    """One line of a segment: CRC-32 of the JSON as 8 hex digits, a space, the JSON, a newline."""
    if type(body) is Encoded:
        payload = b'{"index":%d,%b,"time":"%b","v":1}' % (index, body.members, time.encode("ascii"))
    else:
        payload = encode_checked({**body, "v": VERSION, "index": index, "time": time, "kind": kind})
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def parse_line(data: bytes) -> bytes | None:
    """The JSON of a line (without its newline), or None when its checksum doesn't hold."""
    if len(data) < 11 or data[8:9] != b" ":
        return None
    payload = data[9:]
    return payload if data[:8] == b"%08x" % zlib.crc32(payload) else None


def index_of(payload: bytes) -> int:
    """The index inside a record's JSON; -1 when it isn't a record."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return -1
    index = document.get("index") if isinstance(document, dict) else None
    return index if type(index) is int else -1


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, always six digits of microseconds."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


def base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")
