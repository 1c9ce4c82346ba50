"""PostgreSQL's own regression suite goes through description: `python -m tests.corpus.regress [--write] [FILE …]`.

For each of its files a database is made, the file is run in it (without what would drop its objects again), the
catalog is read, and every statement is described. What comes of it is counted: described fully, opaque and why, no
SQL for the parser. --write keeps the table in docs/lineage-coverage.md. Nothing may raise.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from pglast.parser import ParseError, split

from decision.cli.demo.database import Database, scratch_folder
from decision.cli.errors import CliError
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import SessionNames
from tools.regression_sql import made_from, obtain

DOCUMENT = Path(__file__).parents[2] / "docs" / "lineage-coverage.md"
_META = re.compile(r"^\s*\\.*$", re.MULTILINE)
_INLINE_META = re.compile(r"\\(?:g|gset|gexec|gx|gdesc|crosstabview|;)(?=\s|$)[^\n;]*")
_COPY_DATA = re.compile(
    r"(^COPY\b[^;]*?\bFROM\s+STDIN\b[^;]*;)[^\n]*\n.*?^\\\.$", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_VARIABLE = re.compile(r"(?<![:\w]):(['\"]?)([a-zA-Z_]\w*)\1")
_UNDOING = re.compile(
    r"^\s*(DROP|ROLLBACK|ABORT|RESET|BEGIN|START|COMMIT|END|DISCARD|CREATE SUBSCRIPTION)\b", re.IGNORECASE
)
_TEMPORARY = re.compile(r"\bCREATE(\s+OR\s+REPLACE)?(\s+LOCAL|\s+GLOBAL)?\s+TEMP(ORARY)?\b", re.IGNORECASE)
_ALONE = frozenset(["tablespace.sql", "subscription.sql", "database.sql", "vacuum.sql"])  # would disturb the server


@dataclass(slots=True)
class Coverage:
    """Of some statements. codes: of the opaque ones, each counted once for each of its reasons."""

    statements: int = 0
    full: int = 0
    opaque: int = 0
    unparsed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)  # where it is the only reason
    crashes: list[str] = field(default_factory=list)

    def add(self, other: Coverage) -> None:
        self.statements += other.statements
        self.full += other.full
        self.opaque += other.opaque
        self.unparsed += other.unparsed
        self.codes += other.codes
        self.alone += other.alone
        self.crashes += other.crashes


def script(path: Path) -> list[str]:
    """The file's statements: without psql's own commands, data of COPY, and with its variables as constants."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = _COPY_DATA.sub(r"\1", text)
    text = _INLINE_META.sub(";", _META.sub("", text))
    text = _VARIABLE.sub(
        lambda found: f"'{found[2]}'" if found[1] == "'" else f'"{found[2]}"' if found[1] else "1", text
    )
    return list(_split(text))


def _split(text: str) -> Iterator[str]:
    """By the parser's scanner; where that fails (a test of broken strings), at the ends of lines."""
    try:
        yield from split(text, with_parser=False)
    except ParseError:
        yield from (part for part in re.split(r";[ \t]*\n", text) if part.strip())


def describe(statements: list[str], catalog: Catalog, *, where: str) -> Coverage:
    names = SessionNames(
        database=catalog.database,
        search_path=("pg_catalog", "public"),
        effective_role="postgres",
        session_role="postgres",
    )
    describer = Describer(64)
    found = Coverage()
    for text in statements:
        found.statements += 1
        try:
            said = describer.describe_message(text.encode(), catalog=catalog, names=names)
        except Exception:  # noqa: BLE001 - any exception is what is looked for
            found.crashes.append(f"{where}: {text[:200]!r}\n{traceback.format_exc(limit=-3)}")
            continue
        if not isinstance(said, list):
            found.unparsed += 1
            continue
        codes = {reason.code for each in said for reason in each.template.opaque_reasons}
        found.opaque += bool(codes)
        found.full += not codes
        found.codes.update(codes)
        if len(codes) == 1:
            found.alone.update(codes)
    return found


class Suite:
    """A server with the suite's common objects. A context manager."""

    def __init__(self) -> None:
        self.sql = obtain()
        self._folder = scratch_folder("twokey-regress-")
        self._database = Database(self._folder / "postgresql", settings=("max_prepared_transactions=5",))
        self._made = 0

    def __enter__(self) -> Suite:
        self._database.start()
        self._database.run("CREATE DATABASE common")
        self._play("common", script(self.sql / "test_setup.sql"))
        return self

    def __exit__(self, *error: object) -> None:
        self._database.remove()
        self._folder.rmdir()

    @property
    def version(self) -> int:
        return self._database.version

    def files(self) -> list[Path]:
        return sorted(path for path in self.sql.glob("*.sql"))

    def common(self) -> Catalog:
        return self._catalog("common")

    def covered(self, path: Path) -> Coverage:
        """The file in a database of its own."""
        statements = script(path)
        if path.name in _ALONE or path.name == "test_setup.sql":
            return describe(statements, self.common(), where=path.name)
        self._made += 1
        own = f"own_{self._made}"
        self._database.run(f"CREATE DATABASE {own} TEMPLATE common")
        lasting = [_TEMPORARY.sub(r"CREATE\1", text) for text in statements if not _UNDOING.match(_bare(text))]
        self._play(own, lasting)
        found = describe(statements, self._catalog(own), where=path.name)
        with suppress(CliError):  # a file may have made of it what can't be dropped; it goes with the server
            self._database.run(f"DROP DATABASE {own} WITH (FORCE)")
        return found

    def _play(self, database: str, statements: list[str]) -> None:
        """As far as it goes: many of the suite's statements are meant to fail."""
        environment = self._database.environment("postgres", self._database.admin_password)
        subprocess.run(
            [str(self._database.psql), "-X", "-q", "-d", database],
            input="SET statement_timeout = '3s';\n" + ";\n".join(statements) + ";\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )

    def _catalog(self, database: str) -> Catalog:
        async def read() -> Catalog:
            dsn = f"postgresql://postgres:{self._database.admin_password}@127.0.0.1:{self._database.port}/{database}"
            source = CatalogSource(lambda: asyncpg.connect(dsn))
            await source.start()
            catalog = source.catalog
            await source.close()
            return catalog

        return asyncio.run(read())


def _bare(text: str) -> str:
    """Without the comments before it."""
    return re.sub(r"^(\s*(--[^\n]*\n|/\*.*?\*/))*", "", text, flags=re.DOTALL)


def document(total: Coverage, by_file: dict[str, Coverage], version: int) -> str:
    share = f"{100 * total.full / max(total.statements - total.unparsed, 1):.1f}"
    lines = [
        "# How much of SQL is described",
        "",
        "PostgreSQL's own regression suite, statement by statement, through the description that masking",
        "relies on.",
        f"Each of its files ({made_from()}) is run on PostgreSQL {version}, its temporary",
        "tables made lasting ones and nothing dropped or rolled back, and every statement is described against the",
        "catalog that this leaves. What is not described fully is *opaque*, with a code ([operation](operation.md)),",
        "and policy decides what that is worth: for a masked role it is denied. Nothing raises.",
        "",
        "    python -m tests.corpus.regress --write",
        "",
        "| statements | described fully | opaque | refused by the parser | of what parses, fully |",
        "|---|---|---|---|---|",
        f"| {total.statements} | {total.full} | {total.opaque} | {total.unparsed} | {share} % |",
        "",
        "Why, for the opaque ones (a statement may have several reasons; the last column counts those with no other):",
        "",
        "| code | statements | the only reason |",
        "|---|---|---|",
        *(f"| `{code}` | {count} | {total.alone[code]} |" for code, count in total.codes.most_common()),
        "",
        "Much of the suite is opaque for good reasons: it tests errors and what exists no more or not yet",
        "(`unresolved`),",
        "functions in PL/pgSQL and C, DO blocks, statements prepared within a function.",
        "",
        "| file | statements | fully | opaque | parser |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {each.statements} | {each.full} | {each.opaque} | {each.unparsed} |"
            for name, each in sorted(by_file.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Describe PostgreSQL's regression suite.")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    total, by_file = Coverage(), {}
    with Suite() as suite:
        for path in suite.files():
            if options.files and path.name not in options.files:
                continue
            found = by_file[path.name] = suite.covered(path)
            total.add(found)
            sys.stdout.write(
                f"{path.name}: {found.statements} statements, {found.full} fully, {found.opaque} opaque,"
                f" {found.unparsed} refused by the parser, {len(found.crashes)} crashes\n"
            )
            sys.stdout.flush()
        written = document(total, by_file, suite.version)
    sys.stdout.write("".join(f"CRASH {crash}\n" for crash in total.crashes))
    sys.stdout.write("\n".join(written.split("\n")[:30]) + "\n")
    if options.write:
        DOCUMENT.write_text(written, encoding="utf-8")
    return int(bool(total.crashes))


if __name__ == "__main__":
    sys.exit(main())
