"""Random well-typed statements over a world: input n of a seed is the same on every machine.

A statement knows whether it names a classified column anywhere (`touches`): what does not must be answered to the byte
as it is directly; of any other, whatever is answered may depend on no secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.corpus.modes import WAYS
from tests.corpus.worlds import Column, Table, World

_KINDS = ("int", "text", "boolean", "date", "numeric")
_WAYS = ("simple", "simple", "several", *(way for way in WAYS if way != "prepared"), "explain")


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    way: str
    touches: bool


@dataclass(slots=True)
class Source:
    """What stands in FROM: an alias and its columns."""

    alias: str
    columns: tuple[Column, ...]


class Writer:
    """Of one statement. boldness: how readily a classified column is used otherwise than plainly."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._aliases = 0
        self.touches = False
        self._secrets = random.random() < 0.85
        self._boldness = random.choice((0.0, 0.1, 0.3, 0.7))

    def statement(self) -> str:
        random = self._random
        if random.random() < 0.12:
            kinds = [random.choice(("int", "text"))]
            joined = random.choice((" UNION ", " UNION ALL ", " INTERSECT ", " EXCEPT "))
            return joined.join(self._select(kinds=kinds, depth=1) for _ in range(2))
        if random.random() < 0.15:
            inner, columns = self._derived(1)
            source = Source("w", columns)
            return f"WITH w AS ({inner}) SELECT {self._list([source])} FROM w" + self._where([source])
        return self._select(depth=0)

    def _alias(self) -> str:
        self._aliases += 1
        return f"a{self._aliases}"

    def _use(self, column: Column, source: Source) -> str:
        self.touches |= column.secret
        return f"{source.alias}.{column.name}"

    def _allowed(self, column: Column, *, plain: bool) -> bool:
        if not column.secret:
            return True
        return self._secrets and (plain or self._random.random() < self._boldness)

    def _select(self, *, depth: int, kinds: list[str] | None = None) -> str:
        sources, text = self._from(depth)
        if kinds is not None:
            shown = ", ".join(self._value(kind, sources, 1) for kind in kinds)
            return f"SELECT {shown} FROM {text}{self._where(sources)}"
        if self._random.random() < 0.2:
            return self._grouped(sources, text)
        order = self._order(sources)
        distinct = "DISTINCT " if not order and self._random.random() < 0.1 and not self._secrets else ""
        return f"SELECT {distinct}{self._list(sources)} FROM {text}{self._where(sources)}{order}"

    def _from(self, depth: int) -> tuple[list[Source], str]:
        sources = []
        parts = []
        for number in range(self._random.choice((1, 1, 2, 3)) if depth < 2 else 1):
            source, text = self._source(depth)
            if number == 0:
                parts.append(text)
            else:
                kind = self._random.choice(("JOIN", "LEFT JOIN", "FULL JOIN", "CROSS JOIN", "JOIN LATERAL"))
                kind = kind if "LATERAL" not in kind or text.startswith("(") else "JOIN"
                on = f" ON {self._joined(sources, source, hash_only='FULL' in kind)}" if kind != "CROSS JOIN" else ""
                parts.append(f" {kind} {text}{on}")
            sources.append(source)
        return sources, "".join(parts)

    def _source(self, depth: int) -> tuple[Source, str]:
        alias = self._alias()
        if depth < 2 and self._random.random() < 0.25:
            text, columns = self._derived(depth + 1)
            return Source(alias, columns), f"({text}) {alias}"
        if self._random.random() < 0.1:
            return Source(alias, (Column("n", "int", secret=False),)), f"generate_series(1, 4) AS {alias}(n)"
        table: Table = self._random.choice(self._world.tables)
        return Source(alias, table.columns), f"{table.name} AS {alias}"

    def _derived(self, depth: int) -> tuple[str, tuple[Column, ...]]:
        """A subquery whose columns are known: plain ones keep what they are."""
        source, text = self._source(depth)
        chosen = [column for column in source.columns if self._allowed(column, plain=True)][:5] or [source.columns[0]]
        shown = ", ".join(f"{self._use(column, source)} AS d{n}" for n, column in enumerate(chosen))
        columns = tuple(Column(f"d{n}", column.kind, column.secret) for n, column in enumerate(chosen))
        if self._random.random() < 0.4:  # what nobody asks for
            shown += f", {self._value(self._random.choice(_KINDS), [source], 2)} AS unused"
        return f"SELECT {shown} FROM {text}{self._where([source])}", columns

    def _list(self, sources: list[Source]) -> str:
        if self._random.random() < 0.1:
            source = self._random.choice(sources)
            if self._secrets or not any(column.secret for column in source.columns):
                self.touches |= any(column.secret for column in source.columns)
                return f"{source.alias}.*"
        shown = []
        for number in range(self._random.randint(1, 5)):
            source = self._random.choice(sources)
            column = self._random.choice(source.columns)
            if self._random.random() < 0.6 and self._allowed(column, plain=True):
                shown.append(f"{self._use(column, source)} AS o{number}")
            else:
                made = self._value(self._random.choice(_KINDS), sources, 2)
                shown.append(f"{self._window(sources) if self._random.random() < 0.1 else made} AS o{number}")
        return ", ".join(shown)

    def _window(self, sources: list[Source]) -> str:
        """Of functions that give equal rows equal values."""
        called = self._random.choice(("count(*)", "rank()", f"max({self._value('text', sources, 1)})"))
        by = self._random.choice(("PARTITION BY", "ORDER BY"))
        return f"{called} OVER ({by} {self._value('int', sources, 1)})"

    def _grouped(self, sources: list[Source], text: str) -> str:
        key = self._value("int", sources, 0)
        makers: tuple[Callable[[], str], ...] = (
            lambda: "count(*)",
            lambda: f"sum({self._value('int', sources, 1)})",
            lambda: f"max({self._value('text', sources, 1)})",
            lambda: f"bool_or({self._value('boolean', sources, 1)})",
            lambda: f"count(*) FILTER (WHERE {self._value('boolean', sources, 1)})",
            lambda: f"min({self._value('date', sources, 1)})",
        )
        shown = ", ".join(self._random.choice(makers)() for _ in range(2))
        having = " HAVING count(*) > 1" if self._random.random() < 0.3 else ""
        return f"SELECT {key}, {shown} FROM {text}{self._where(sources)} GROUP BY {key}{having}"

    def _where(self, sources: list[Source]) -> str:
        return f" WHERE {self._value('boolean', sources, 2)}" if self._random.random() < 0.4 else ""

    def _order(self, sources: list[Source]) -> str:
        """A whole order, so that a limit cuts the same rows."""
        keys = [f"{source.alias}.{source.columns[0].name}" for source in sources if not source.columns[0].secret]
        if len(keys) < len(sources) or self._random.random() < 0.5:
            return ""
        limit = f" LIMIT {self._random.randint(1, 6)}" if self._random.random() < 0.4 and len(sources) == 1 else ""
        return f" ORDER BY {', '.join(keys)}{limit}"

    def _joined(self, sources: list[Source], new: Source, *, hash_only: bool) -> str:
        other = self._random.choice(sources)
        left, right = self._column("int", [other]), self._column("int", [new])
        if left and right and (hash_only or self._random.random() < 0.7):
            return f"{left} = {right}"
        return "true" if not hash_only else "1 = 1"

    def _column(self, kind: str, sources: list[Source]) -> str:
        """Empty when there is none that may be used so."""
        found = [
            (column, source)
            for source in sources
            for column in source.columns
            if column.kind == kind and self._allowed(column, plain=False)
        ]
        return self._use(*self._random.choice(found)) if found else ""

    def _value(self, kind: str, sources: list[Source], depth: int) -> str:
        random = self._random
        if depth <= 0 or random.random() < 0.4:
            return self._column(kind, sources) or self._constant(kind)

        def value(of: str) -> str:
            return self._value(of, sources, depth - 1)

        if random.random() < 0.12:
            return f"CASE WHEN {value('boolean')} THEN {value(kind)} ELSE {value(kind)} END"
        if random.random() < 0.1:
            return f"coalesce({value(kind)}, {value(kind)})"
        forms: dict[str, tuple[Callable[[], str], ...]] = {
            "int": (
                lambda: f"({value('int')} + {value('int')})",
                lambda: f"length({value('text')})",
                lambda: f"ascii({value('text')})",
                lambda: f"(({value('int')}) % 7)",
                lambda: f"(10 / ({value('int')}))",
                lambda: f"(SELECT count(*)::int FROM {self._random.choice(self._world.tables).name})",
                lambda: f"(SELECT max(e.id) FROM rnd.t1 e WHERE e.id < {value('int')})",
                lambda: f"greatest({value('int')}, {value('int')})",
                lambda: f"nullif({value('int')}, {value('int')})",
                lambda: f"(ARRAY[{value('int')}, 3])[{value('int')}]",
            ),
            "text": (
                lambda: f"upper({value('text')})",
                lambda: f"({value('text')} || {value('text')})",
                lambda: f"substr({value('text')}, 1, 3)",
                lambda: f"md5({value('text')})",
                lambda: f"({value('int')})::text",
                lambda: f'({value("text")} COLLATE "C")',
                lambda: f"(to_jsonb({value('text')}) ->> 0)",
                lambda: f"array_to_string(ARRAY[{value('text')}, {value('text')}], ',')",
                lambda: f"(ROW({value('int')}, {value('text')}))::text",
                lambda: "(" + (self._column("jsonb", sources) or "'{}'::jsonb") + " ->> 'k')",
                lambda: "(" + (self._column("text[]", sources) or "'{x}'::text[]") + ")[1]",
            ),
            "boolean": (
                lambda: f"({value('int')} > {value('int')})",
                lambda: f"({value('text')} LIKE '%1%')",
                lambda: f"({value('text')} = {value('text')})",
                lambda: f"({value('boolean')} AND {value('boolean')})",
                lambda: f"(NOT {value('boolean')})",
                lambda: f"({value('boolean')} IS TRUE)",
                lambda: f"({value('text')} IS DISTINCT FROM {value('text')})",
                lambda: f"({value('int')} BETWEEN {value('int')} AND {value('int')})",
                lambda: f"({value('int')} = ANY (ARRAY[1, {value('int')}]))",
                lambda: f"({value('date')} IS NULL)",
                lambda: f"({value('int')} IN (1, 2, 3))",
                lambda: f"EXISTS (SELECT 1 FROM rnd.t0 e WHERE e.id = {value('int')})",
            ),
            "date": (lambda: f"({value('date')} + 1)", lambda: f"date_trunc('month', {value('date')})::date"),
            "numeric": (lambda: f"({value('numeric')} * 2)", lambda: f"round({value('numeric')}, 1)"),
        }
        return random.choice(forms.get(kind, (lambda: self._constant(kind),)))()

    def _constant(self, kind: str) -> str:
        return {
            "int": str(self._random.randint(0, 6)),
            "text": f"'word {self._random.randint(0, 5)}'::text",
            "boolean": self._random.choice(("true", "false")),
            "date": "date '2026-01-03'",
            "numeric": "2.5",
        }.get(kind, f"NULL::{kind}")


def statement(world: World, seed: int, number: int) -> Statement:
    random = Random(f"statement {seed} {number}")
    writer = Writer(world, random)
    text = writer.statement()
    return Statement(text, random.choice(_WAYS), writer.touches)
