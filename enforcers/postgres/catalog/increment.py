"""Reading a catalog: whole, or what has changed since.

Without I/O: a reading yields the questions it has, is sent their answers, and returns what it has learnt. So the
catalog's own connection and a session's are read by the same code. All questions of a reading are asked in one
snapshot where that can be had (source.py); where it can't, counts that do not fit end in reading the whole.

What is kept of each group is how many rows it has and a hash of them: rows that were written again and say the same
(ANALYZE, GRANT, COMMENT) change nothing. Of a relation everything is read again when any of its parts has changed.

Printed forms hold names of other objects. Columns that come, go or are renamed print anew whatever depends on their
relation; where an object that was there gets another name or schema, the whole is read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from enforcers.postgres.catalog.build import Row, grouped, text
from enforcers.postgres.catalog.changes import (
    DEPENDENTS_QUERY,
    HORIZON,
    HORIZON_QUERY,
    MAX_AGE,
    marks_query,
    sizes_query,
)
from enforcers.postgres.catalog.objects import Function, Relation, Type
from enforcers.postgres.catalog.parts import (
    NAMED,
    PARTS,
    RELATION_PARTS,
    builtin_queries,
    catalog_queries,
    keyed_queries,
)
from enforcers.postgres.catalog.queries import UNPRINTED
from enforcers.postgres.catalog.snapshot import Builtins, Catalog


@dataclass(frozen=True, slots=True)
class Question:
    """parameters: as text."""

    sql: str
    parameters: tuple[str, ...] = ()


Answer = Sequence[Row]
Learnt = TypeVar("Learnt")
Reading = Generator[Sequence[Question], Sequence[Answer], Learnt]
Held = Mapping[str, Mapping[int, tuple[int, int]]]  # part -> key -> rows of the group, their hash
Keys = dict[str, set[int]]  # by part


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A snapshot, and what tells whether it still holds."""

    catalog: Catalog
    horizon: str
    held: Held
    totals: Mapping[str, int]  # users' rows of each part
    builtin: Mapping[str, int]  # the server's own
    seen: frozenset[tuple[str, str]]  # marks at or above the horizon that were read: (part, mark)
    unprinted: frozenset[tuple[str, int]]  # groups that could not be printed: (part, key)


@dataclass(frozen=True, slots=True)
class Marks:
    """An answer to marks_query."""

    horizon: str
    age: int  # of the horizon given, in transactions
    counts: Mapping[str, int]
    new: Mapping[str, Sequence[str]]
    builtin: Mapping[str, int]
    builtin_new: Mapping[str, Sequence[str]]

    @property
    def seen(self) -> frozenset[tuple[str, str]]:
        found = [(part, mark) for new in (self.new, self.builtin_new) for part, marks in new.items() for mark in marks]
        return frozenset(found)


def _marks(answer: Answer) -> Marks:
    horizon, age = "", MAX_AGE + 1
    counts, new, builtin, builtin_new = {}, {}, {}, {}
    for name, count, marks, builtin_count, builtin_marks in (map(text, row) for row in answer):
        if name == HORIZON:
            horizon, age = count, int(marks)
            continue
        counts[name], builtin[name] = int(count), int(builtin_count)
        new[name] = marks.split(";") if marks else ()
        builtin_new[name] = builtin_marks.split(";") if builtin_marks else ()
    return Marks(horizon, age, counts, new, builtin, builtin_new)


def whole(version: int, *, database: str, words: frozenset[str], builtins: Builtins | None) -> Reading[Known]:
    """Everything. version: the server's; builtins: those of this server, where they are known and stand."""
    ((row,),) = yield [Question(HORIZON_QUERY)]
    marks = _marks((yield [Question(marks_query(), (text(row[0]),))])[0])
    queries = catalog_queries(version)
    answers = yield [Question(sql) for _, sql in queries]
    rows = {name: answer for (name, _), answer in zip(queries, answers, strict=True)}
    if builtins is None:
        own = builtin_queries(version)
        found = yield [Question(sql) for _, sql in own]
        builtins = Builtins.from_rows(
            {"namespaces": rows["namespaces"]} | {name: part for (name, _), part in zip(own, found, strict=True)},
            server_version=version,
        )
    groups = {name: grouped(name, part) for name, part in rows.items()}
    return Known(
        catalog=Catalog.from_rows(rows, builtins=builtins, database=database, foreign_words=words),
        horizon=marks.horizon,
        held={name: {key: _sign(found) for key, found in part.items()} for name, part in groups.items()},
        totals={name: len(part) for name, part in rows.items()},
        builtin=marks.builtin,
        seen=marks.seen,
        unprinted=frozenset((name, key) for name, part in groups.items() for key in _unprinted(part)),
    )


def _sign(rows: Sequence[Row]) -> tuple[int, int]:
    return len(rows), hash(tuple(map(tuple, rows)))


def _unprinted(groups: Mapping[int, Sequence[Row]]) -> Iterable[int]:
    return (key for key, rows in groups.items() if any(UNPRINTED in row for row in rows))


class Whole(Exception):  # noqa: N818 - no error: the answer that nothing less than everything will do
    """The snapshot can't be carried on. builtins: nor can what is known of the server's own objects."""

    def __init__(self, *, builtins: bool = False) -> None:
        super().__init__()
        self.builtins = builtins


def changed(known: Known, version: int) -> Reading[Known]:
    """What `known` has become. The catalog in it is the same one where nothing has changed. Raises Whole."""
    reader = yield from _look(known, version, session=False)
    return reader.known()


def session_view(known: Known, *, search_path: tuple[str, ...]) -> Reading[Catalog]:
    """The catalog as a session's own connection sees it, under this search_path (its current_schemas(true)).

    What only changed is printed under that path, and all else under an empty one. So unqualified names must be those
    of pg_catalog to the session as well: else it is asked for everything.
    """
    version = known.catalog.builtins.server_version
    if next((schema for schema in search_path if not schema.startswith("pg_temp_")), "") == "pg_catalog":
        try:
            reader = yield from _look(known, version, session=True)
            return reader.catalog(session=True).as_seen(search_path=search_path)
        except Whole:
            pass
    queries = catalog_queries(version)
    answers = yield [Question(sql) for _, sql in queries]
    rows = {name: answer for (name, _), answer in zip(queries, answers, strict=True)}
    return known.catalog.with_rows(rows, search_path=search_path)


def _look(known: Known, version: int, *, session: bool) -> Reading[_Reader]:
    """session: this connection sees objects that the catalog's does not."""
    marks = _marks((yield [Question(marks_query(), (known.horizon,))])[0])
    if not 0 <= marks.age <= MAX_AGE:
        raise Whole(builtins=True)
    if marks.builtin != known.builtin or any(
        (part, mark) not in known.seen for part, found in marks.builtin_new.items() for mark in found
    ):
        raise Whole(builtins=True)
    reader = _Reader(known, version, marks)
    wanted: Keys = {part: set() for part in PARTS}
    for part, found in marks.new.items():
        wanted[part].update(int(mark.partition(" ")[0]) for mark in found if (part, mark) not in known.seen)
    for part, key in known.unprinted:
        wanted[part].add(key)
    yield from reader.fetch(wanted)
    yield from reader.settle()
    yield from reader.reprint(session=session)
    return reader


class _Reader:
    """The groups that were read, beside those that are held."""

    def __init__(self, known: Known, version: int, marks: Marks) -> None:
        self._known = known
        self._marks = marks
        self._queries = keyed_queries(version)
        self._read: dict[str, dict[int, Sequence[Row]]] = {part: {} for part in PARTS}
        self._counts = dict(known.totals)

    def fetch(self, wanted: Keys) -> Reading[None]:
        """These groups; and of each relation all."""
        families = set().union(*(wanted[part] for part in RELATION_PARTS))
        keys = dict(wanted)
        if families:
            for part in RELATION_PARTS:
                held = self._known.held[part]
                keys[part] = {key for key in families if key in held or key in wanted[part]}
            keys["relations"] = families
        asked = [(part, found) for part, found in keys.items() if found]
        if not asked:
            return
        answers = yield [Question(self._queries[part], (_oids(found),)) for part, found in asked]
        for (part, found), answer in zip(asked, answers, strict=True):
            groups = grouped(part, answer)
            for key in found:
                self._set(part, key, groups.get(key, ()))

    def _set(self, part: str, key: int, rows: Sequence[Row]) -> None:
        read, held = self._read[part], self._known.held[part]
        before = len(read[key]) if key in read else held[key][0] if key in held else 0
        self._counts[part] += len(rows) - before
        read[key] = rows

    def settle(self) -> Reading[None]:
        """What is gone: as long as there are fewer rows than we hold."""
        if self._short("relations"):
            yield from self._missing(["relations"])
        short = [part for part in PARTS if self._short(part)]
        if short:
            yield from self._missing(short)
        if any(self._short(part) for part in PARTS):
            raise Whole  # read in several snapshots, perhaps

    def _short(self, part: str) -> bool:
        return self._counts[part] != self._marks.counts[part]

    def _missing(self, parts: Sequence[str]) -> Reading[None]:
        """Compare the size of each group with what we hold."""
        answers = yield [Question(sizes_query(part)) for part in parts]
        again: Keys = {part: set() for part in PARTS}
        for part, answer in zip(parts, answers, strict=True):
            listed = text(answer[0][0]) if answer else ""
            pairs = (item.partition(" ") for item in listed.split(";") if item)
            sizes = {int(key): int(size) for key, _, size in pairs}
            read, held = self._read[part], self._known.held[part]
            for oid in held.keys() | read.keys() | sizes.keys():
                size = len(read[oid]) if oid in read else held[oid][0] if oid in held else 0
                if sizes.get(oid, 0) == size:
                    continue
                if oid in sizes or (part in RELATION_PARTS and part != "relations"):
                    again[part].add(oid)  # what is left of it; and if only that is gone, the rest of its relation
                else:
                    self._gone(part, oid)
        yield from self.fetch(again)

    def _gone(self, part: str, key: int) -> None:
        self._set(part, key, ())
        if part != "relations":
            return
        for other in RELATION_PARTS:
            if key in self._known.held[other] or key in self._read[other]:
                self._set(other, key, ())
        relation = self._known.catalog.own.relations.get(key)
        types = self._known.catalog.own.types
        row_type = relation.row_type if relation is not None else 0
        for oid in (row_type, row_type - 1):  # its own, and that of arrays of it
            found = types.get(oid)
            if found is not None and row_type in {oid, found.element}:
                self._set("types", oid, ())

    def reprint(self, *, session: bool) -> Reading[None]:
        """Whatever is printed with a name that is another one now."""
        for part in NAMED:
            if any(self._renamed(part, key) for key in self._read[part] if self._differs(part, key)):
                raise Whole
        if session and self._shadowed():
            raise Whole
        relations = self._known.catalog.own.relations
        touched = {
            key
            for part in ("relations", "columns")
            for key in self._read[part]
            if key in relations and relations[key].kind != "index" and self._read["relations"].get(key)
            if self._differs(part, key)
        }
        if not touched:
            return
        (dependents,) = yield [Question(DEPENDENTS_QUERY, (_oids(touched),))]
        again: Keys = {part: set() for part in PARTS}
        for part, key in (map(text, row) for row in dependents):
            if int(key) in self._known.held[part] and int(key) not in self._read[part]:
                again[part].add(int(key))
        yield from self.fetch(again)

    def _differs(self, part: str, key: int) -> bool:
        rows = self._read[part][key]
        held = self._known.held[part].get(key)
        return bool(rows) if held is None else held != _sign(rows)

    def _renamed(self, part: str, key: int) -> bool:
        """An object that was there and is, and is not named as it was."""
        rows = self._read[part][key]
        if key not in self._known.held[part] or not rows:
            return False
        own = self._known.catalog.own
        before: Relation | Function | Type | None = None
        if part == "relations":
            before = own.relations.get(key)
            if before is not None and before.kind == "index":
                return False  # named by nothing that is printed
        elif part == "functions":
            before = own.functions.get(key)
        elif part == "types":
            before = own.types.get(key)
        if before is None:
            return True  # of the others a name is all there is; and this one could not be looked up till now
        return (before.schema, before.name) != (own.namespaces.get(int(text(rows[0][2]))), rows[0][1])

    def _shadowed(self) -> bool:
        """A temporary object has the name of one of the server's own, which stand unqualified in printed forms."""
        mine = {key for key, rows in self._read["namespaces"].items() if rows and text(rows[0][1])[:8] == "pg_temp_"}
        builtins = self._known.catalog.builtins.objects
        return any(
            ("pg_catalog", text(rows[0][1])) in names
            for part, names in (("relations", builtins.relation_names), ("types", builtins.type_names))
            for rows in self._read[part].values()
            if rows and int(text(rows[0][2])) in mine
        )

    def catalog(self, *, session: bool = False) -> Catalog:
        read = self._read
        news = {part: {key for key in groups if session or self._differs(part, key)} for part, groups in read.items()}
        families = set().union(*(news[part] for part in RELATION_PARTS))
        for part in RELATION_PARTS:
            news[part] = {key for key in families if key in read[part]}
        if not any(news.values()):
            return self._known.catalog
        return self._known.catalog.with_changes(
            {part: {key: read[part][key] for key in keys} for part, keys in news.items()}
        )

    def known(self) -> Known:
        known, marks, read = self._known, self._marks, self._read
        return Known(
            catalog=self.catalog(),
            horizon=marks.horizon,
            held={part: _signed(known.held[part], groups) for part, groups in read.items()},
            totals=self._counts,
            builtin=known.builtin,
            seen=marks.seen,
            unprinted=(known.unprinted - {(part, key) for part, groups in read.items() for key in groups})
            | {(part, key) for part, groups in read.items() for key in _unprinted(groups)},
        )


def _oids(keys: Iterable[int]) -> str:
    return "{" + ",".join(map(str, sorted(keys))) + "}"


def _signed(held: Mapping[int, tuple[int, int]], read: Mapping[int, Sequence[Row]]) -> Mapping[int, tuple[int, int]]:
    if not read:
        return held
    signed = dict(held)
    for key, rows in read.items():
        if rows:
            signed[key] = _sign(rows)
        else:
            signed.pop(key, None)
    return signed
