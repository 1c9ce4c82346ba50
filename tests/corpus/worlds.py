"""A random schema: tables with columns of many types, some classified, some views over them; by its seed the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.corpus.canaries import Source

KINDS = ("text", "int", "bigint", "numeric", "date", "boolean", "timestamptz", "jsonb", "text[]")
_ROWS = 9


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: str
    secret: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Also a view. `keys`: columns that hold ids of another table."""

    name: str
    columns: tuple[Column, ...]


@dataclass(slots=True)
class World:
    tables: list[Table] = field(default_factory=list)
    ddl: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)

    @property
    def classification(self) -> str:
        names = [
            f"{table.name}.{column.name}"
            for table in self.tables
            for column in table.columns
            if column.secret and table.name.startswith("rnd.t")
        ]
        return "".join(f"{name}: secret\n" for name in names)


def make(seed: int) -> World:
    random = Random(f"world {seed}")
    world = World(ddl=["CREATE SCHEMA rnd"])
    for number in range(5):
        columns = [Column("id", "int", secret=False), Column("ref", "int", secret=False)]
        for place in range(random.randint(4, 7)):
            columns.append(Column(f"c{place}", random.choice(KINDS), random.random() < 0.45))
        table = Table(f"rnd.t{number}", tuple(columns))
        world.tables.append(table)
        inside = ", ".join(f"{column.name} {column.kind}" for column in columns[1:])
        world.ddl.append(f"CREATE TABLE {table.name} (id int PRIMARY KEY, {inside})")
    for number in range(4):
        below = random.choice(world.tables[:5])
        chosen = [below.columns[0], *random.sample(below.columns[1:], min(4, len(below.columns) - 1))]
        columns = [Column(f"v{place}", column.kind, column.secret) for place, column in enumerate(chosen)]
        view = Table(f"rnd.v{number}", tuple(columns))
        names = ", ".join(f"{old.name} AS {new.name}" for old, new in zip(chosen, columns, strict=True))
        kind = "MATERIALIZED VIEW" if number == 3 else "VIEW"
        held = any(column.secret for column in chosen)  # a star of the view shows these too
        texts = [column.name for column in below.columns if column.kind == "text" and column.secret == held]
        more = f", upper({texts[0]}) AS unused, 1 / length({texts[0]}) AS never" if texts and number < 3 else ""
        world.views.append(f"CREATE {kind} {view.name} AS SELECT {names}{more} FROM {below.name}")
        world.tables.append(view)
    return world


def rows(world: World, side: str, seed: int) -> str:
    """What fills it: secrets by the side, all else by the seed alone."""
    secrets, random = Source(side), Random(f"rows {seed}")
    statements = []
    for table in world.tables[:5]:
        for number in range(_ROWS):
            cells = [str(number + 1), str(random.randint(1, _ROWS))]
            for column in table.columns[2:]:
                plain = _cell(column.kind, random, number)
                cells.append(_secret(column.kind, secrets, number) if column.secret else plain)
            statements.append(f"INSERT INTO {table.name} VALUES ({', '.join(cells)})")
    statements += [f"REFRESH MATERIALIZED VIEW {table.name}" for table in world.tables if table.name == "rnd.v3"]
    return "".join(f"{statement};\n" for statement in statements)


def _cell(kind: str, random: Random, number: int) -> str:
    if random.random() < 0.1:
        return "NULL"
    small = random.randint(0, 5)
    return {
        "text": f"'word {small}'",
        "int": str(small),
        "bigint": str(small * 10),
        "numeric": f"{small}.5",
        "date": f"'2026-01-0{1 + small}'",
        "boolean": "true" if small % 2 else "false",
        "timestamptz": f"'2026-02-0{1 + small} 10:00:00+00'",
        "jsonb": f"""'{{"k": {small}, "n": {number}}}'""",
        "text[]": f"'{{a,b{small}}}'",
    }[kind]


def _secret(kind: str, source: Source, number: int) -> str:
    word, digits = source.word(number), source.digits(number, 9)
    year = (1810 if source.side == "a" else 1870) + number
    if number == (4 if source.side == "a" else 2):
        return "NULL"
    return {
        "text": f"'{word}'",
        "int": digits,
        "bigint": digits + "77",
        "numeric": f"{digits}.25",
        "date": f"'{year}-0{1 + number % 9}-17'",
        "boolean": "true" if (number % 2 == 0) == (source.side == "a") else "false",
        "timestamptz": f"'{year}-0{1 + number % 9}-17 01:{source.minutes()}+00'",
        "jsonb": f"""'{{"k": "{word}", "n": {digits}}}'""",
        "text[]": f"'{{{word}}}'",
    }[kind]
