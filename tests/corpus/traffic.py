"""Recorded traffic of real clients: kept as messages, object ids as names, so that it fits any database of the schema.

A recording is a list of sessions, a session a list of batches (up to each Sync or Query), a batch a list of messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from enforcers.postgres import wire
from tests.clients.recorder import Message
from tests.corpus.link import Frames, Link

FOLDER = Path(__file__).with_name("traffic")
_ENDS = {"Q", "S", "F"}
_NUMBER = re.compile(r"(?<![\w.])\d{5,6}(?![\w.])")
_NAME = re.compile(r"\{\{([^{}]+)\}\}")
OIDS = """
SELECT 'class ' || n.nspname || '.' || c.relname, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid >= 12000 AND c.relkind NOT IN ('t', 'i') AND n.nspname !~ '^pg_'
UNION ALL SELECT 'index ' || n.nspname || '.' || c.relname, c.oid FROM pg_class c JOIN pg_namespace n
 ON n.oid = c.relnamespace WHERE c.oid >= 12000 AND c.relkind = 'i' AND n.nspname !~ '^pg_'
UNION ALL SELECT 'type ' || n.nspname || '.' || t.typname, t.oid FROM pg_type t JOIN pg_namespace n
 ON n.oid = t.typnamespace WHERE t.oid >= 12000 AND n.nspname !~ '^pg_'
UNION ALL SELECT 'function ' || p.oid::regprocedure, p.oid FROM pg_proc p WHERE p.oid >= 12000
UNION ALL SELECT 'schema ' || nspname, oid FROM pg_namespace WHERE oid >= 12000
UNION ALL SELECT 'database ' || datname, oid FROM pg_database WHERE oid >= 12000
UNION ALL SELECT 'role ' || rolname, oid FROM pg_roles WHERE oid >= 12000
UNION ALL SELECT 'constraint ' || conname, oid FROM pg_constraint WHERE oid >= 16384
UNION ALL SELECT 'trigger ' || tgname, oid FROM pg_trigger WHERE oid >= 16384 AND NOT tgisinternal
"""
JsonMessage = list[object]
Batches = list[list[JsonMessage]]


class Oids:
    """The server's object ids by name, and back."""

    def __init__(self, link: Link) -> None:
        frames = link.ask(wire.query(OIDS.encode()))
        rows = [wire.parse_data_row(raw) for kind, raw in frames if kind == "D"]
        self._by_name = {(name or b"").decode(): int(oid or b"0") for name, oid in rows}
        self._by_oid = {oid: name for name, oid in self._by_name.items()}

    def hide(self, text: str) -> str:
        return _NUMBER.sub(lambda found: self._hidden(found[0]), text)

    def _hidden(self, number: str) -> str:
        name = self._by_oid.get(int(number))
        return f"{{{{{name}}}}}" if name else number

    def show(self, text: str) -> str:
        return _NAME.sub(lambda found: str(self._by_name[found[1]]) if found[1] in self._by_name else found[0], text)

    def name(self, value: bytes) -> str | None:
        """Of four bytes that are an object id."""
        return self._by_oid.get(int.from_bytes(value, "big")) if len(value) == 4 else None

    def of(self, name: str) -> int:
        return self._by_name[name]


def written(messages: list[Message], oids: Oids) -> Batches:
    """What a client said after its log-in. Flush is the end of a batch that nobody waits for: it is left out."""
    batches: Batches = [[]]
    for message in messages:
        if message.kind in {"p", "H", "X", "StartupMessage", "SSLRequest", "GSSENCRequest", "CancelRequest", "cut"}:
            continue
        batches[-1].append(_written(message, oids))
        if message.kind in _ENDS:
            batches.append([])
    return [batch for batch in batches if batch]


def _written(message: Message, oids: Oids) -> JsonMessage:
    raw = wire.message(message.kind.encode(), message.body)
    if message.kind == "P":
        parse = wire.parse_parse(raw)
        return ["P", _text(parse.name), oids.hide(_text(parse.query)), list(parse.types)]
    if message.kind == "B":
        bind = wire.parse_bind(raw)
        values = [_value(value, oids) for value in bind.values]
        return ["B", _text(bind.portal), _text(bind.statement), list(bind.formats), values, list(bind.result_formats)]
    return [message.kind, oids.hide(_text(message.body))]


def _value(value: bytes | None, oids: Oids) -> object:
    if value is None:
        return None
    name = oids.name(value)
    return {"oid": name} if name else oids.hide(_text(value))


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: object) -> bytes:
    return str(text).encode("latin-1")


def _spoken(message: JsonMessage, oids: Oids) -> bytes:
    kind, *fields = message
    if kind == "P":
        name, query, types = fields
        return wire.parse(_bytes(name), _bytes(oids.show(str(query))), [int(str(item)) for item in _list(types)])
    if kind == "B":
        portal, statement, formats, values, results = fields
        given = [_given(value, oids) for value in _list(values)]
        return wire.bind(
            _bytes(portal),
            _bytes(statement),
            given,
            formats=[int(str(item)) for item in _list(formats)],
            result_formats=[int(str(item)) for item in _list(results)],
        )
    return wire.message(_bytes(kind), _bytes(oids.show(str(fields[0]))))


def _given(value: object, oids: Oids) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return oids.of(str(value["oid"])).to_bytes(4, "big")
    return _bytes(oids.show(str(value)))


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected: {value!r}")
    return value


def replay(link: Link, batches: Batches, oids: Oids) -> Iterator[tuple[str, Frames]]:
    """(what was said, what was answered), batch by batch."""
    for batch in batches:
        said = " | ".join(str(message[1] if message[0] != "P" else message[2])[:3000] for message in batch)
        yield said, link.ask(b"".join(_spoken(message, oids) for message in batch))


def load(path: Path) -> list[Batches]:
    found: list[Batches] = json.loads(path.read_text(encoding="utf-8"))
    return found
