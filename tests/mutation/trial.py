"""Does any test notice? One mutant at a time, in a process forked from one that has everything else ready.

First the statements of lineage.txt, corpus.txt and kinds.txt that reach the changed line, held against what the files
say; then, where none differs, the other tests of descriptions that need no server. Nothing of this asks a server once
the two catalogs are read.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from enforcers.compiled import CompiledFinder
from enforcers.postgres.catalog.snapshot import Catalog
from tests.mutation.mutants import Mutant, source

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "enforcers.postgres.describe"
FOLDER = ROOT / "enforcers" / "postgres" / "describe"
TESTS = "tests.enforcers.postgres.describe"
_AGAIN = (PACKAGE, TESTS, "tests.enforcers.postgres.test_operations", "enforcers.postgres.operations")
_FILES = ("test_lineage", "test_expressions", "test_describer", "test_counted", "test_telling", "test_resolution",
          "test_constants", "test_literals", "test_labels", "test_labelled", "test_verify", "test_foreign",
          "test_output", "test_safe_functions", "test_settings", "test_statements_kinds",
          "test_relations", "test_unlabelling", "test_functions", "test_context_nesting", "test_build", "test_copying",
          "test_definitions")  # fmt: skip
# Looked at already (statement by statement), or slow and about something else.
_NOT = " and ".join(
    f"not {name}"
    for name in (
        "test_lineage[",
        "new_syntax[",
        "test_corpus[",
        "test_a_kind_of_statement",
        "not_reported",
        "hostile",
        "large",
        "by_shape",
        "known_text",
    )
)
_PATIENCE_S = 60
_BROKEN = "the tests could not run"


class Catalogs:
    """The two that the tests describe against, read from a server that is gone by then."""

    def __init__(self, corpus: Catalog, lineage: Catalog) -> None:
        self.corpus, self.lineage = corpus, lineage

    @classmethod
    def read(cls) -> Catalogs:
        conftest: Any = importlib.import_module(f"{TESTS}.conftest")
        lineage_world: Any = importlib.import_module(f"{TESTS}.lineage_world")
        with conftest.trusting_server() as port:
            dsn = f"postgresql://postgres@127.0.0.1:{port}"
            corpus = asyncio.run(conftest._prepare(f"{dsn}/postgres"))
            return cls(corpus, lineage_world.make(f"{dsn}/postgres").catalog)


@dataclass(frozen=True, slots=True)
class Outcome:
    """killed: by which statement or test; empty when nothing noticed."""

    killed: str


class Statements:
    """Of lineage.txt, corpus.txt and kinds.txt, against modules as they are imported now."""

    def __init__(self, catalogs: Catalogs) -> None:
        given: Any = importlib.import_module(f"{TESTS}.given")
        given.CATALOGS.update({"corpus": catalogs.corpus, "lineage": catalogs.lineage})
        self._lineage: Any = importlib.import_module(f"{TESTS}.test_lineage")
        self._world = importlib.import_module(f"{TESTS}.lineage_world").World("", catalogs.lineage)
        self._describer: Any = importlib.import_module(f"{TESTS}.test_describer")
        self._kinds: Any = importlib.import_module(f"{TESTS}.test_statements_kinds")
        self._server = importlib.import_module(f"{TESTS}.conftest").Server("", catalogs.corpus)
        self._files: tuple[tuple[str, Sequence[Any], Callable[[Any], None]], ...] = (
            ("lineage.txt", self._lineage.LINES, partial(self._lineage.test_lineage, self._world)),
            ("lineage_18.txt", self._lineage.NEW, partial(self._lineage.test_lineage_of_new_syntax, self._world)),
            ("corpus.txt", self._describer.CASES, partial(self._describer.test_corpus, self._server)),
            ("kinds.txt", self._kinds.LINES, partial(self._kinds.test_a_kind_of_statement_is_described, self._server)),
        )
        self.number = sum(len(lines) for _, lines, _ in self._files)

    def _at(self, number: int) -> tuple[str, int, Sequence[Any], Callable[[Any], None]]:
        for name, lines, test in self._files:
            if number < len(lines):
                return name, number, lines, test
            number -= len(lines)
        raise IndexError(number)

    def name(self, number: int) -> str:
        name, line, _, _ = self._at(number)
        return f"{name}:{line + 1}"

    def right(self, number: int) -> bool:
        """Is statement `number` described as its file says?"""
        _, line, lines, test = self._at(number)
        try:
            test(lines[line])
        except Exception:  # noqa: BLE001 - whatever a changed module raises is what is looked for
            return False
        return True


def reached(statements: Statements) -> dict[str, dict[int, list[int]]]:
    """module -> line -> the statements that run it."""
    found: dict[str, dict[int, list[int]]] = {}
    lines: set[tuple[str, int]] = set()
    files: dict[CodeType, str] = {}

    def local(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        lines.add((files[frame.f_code], frame.f_lineno))
        return local

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        name = files.get(code)
        if name is None:
            name = files[code] = os.path.basename(code.co_filename) if str(FOLDER) in code.co_filename else ""
        return local(frame, event, argument) if name else None

    for number in range(statements.number):
        lines.clear()
        for name in ("resolution._known", "relations._columns"):  # what one statement found, another would not run
            module, attribute = name.split(".")
            getattr(importlib.import_module(f"{PACKAGE}.{module}"), attribute).clear()
        sys.settrace(trace)
        try:
            fine = statements.right(number)
        finally:
            sys.settrace(None)
        if not fine:
            raise RuntimeError(f"{statements.name(number)} fails without any change")
        for file, line in lines:
            found.setdefault(file, {}).setdefault(line, []).append(number)
    return found


class _Changed(MetaPathFinder, Loader):
    """Finds one module as its mutant."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)


class Trial:
    """Everything ready: catalogs read, statements known to be right, which of them reach what.

    quick: by the statements alone, all of them in their order; catalogs are given then.
    """

    def __init__(self, catalogs: Catalogs | None = None, *, quick: bool = False) -> None:
        self._catalogs = catalogs or Catalogs.read()
        self._quick = quick
        if quick:
            return
        self._statements = Statements(self._catalogs)
        self._reached = reached(self._statements)
        if not self._reached:
            raise RuntimeError("no statement reaches any line: the modules are compiled ones (set TWOKEY_PURE=1)")
        self._failing = _unchanged_failures()

    def outcome(self, mutant: Mutant) -> Outcome:
        """Forks; the child says what noticed the change, and nothing when nothing did."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_PATIENCE_S)
            said = _BROKEN
            try:
                said = self._noticed(mutant)
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                said = f"{_BROKEN}: {error!r}"
            finally:
                os.write(writer, said.encode() or b"-")
                os._exit(0)
        os.close(writer)
        select.select([reader], [], [], _PATIENCE_S + 5)
        said = os.read(reader, 4096).decode()
        os.close(reader)
        os.waitpid(child, 0)
        if said.startswith(_BROKEN):
            raise RuntimeError(f"{mutant.key}: {said}")
        return Outcome("it never ended" if not said else "" if said == "-" else said)

    def _noticed(self, mutant: Mutant) -> str:
        path = FOLDER / mutant.module
        name = f"{PACKAGE}.{path.stem}"
        # What was compiled calls its like directly, never the changed one.
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, CompiledFinder)]
        sys.meta_path.insert(0, _Changed(name, path, source(path, mutant.point)))
        for known in [item for item in sys.modules if item.startswith(_AGAIN)]:
            del sys.modules[known]
        try:
            statements = Statements(self._catalogs)
        except Exception as error:  # noqa: BLE001 - it can't even be imported
            return f"importing it: {type(error).__name__}"
        for number in range(statements.number) if self._quick else self._order(mutant):
            if not statements.right(number):
                return statements.name(number)
        return "" if self._quick else _pytest(self._failing)

    def _order(self, mutant: Mutant) -> Iterator[int]:
        reaching = self._reached.get(mutant.module, {}).get(mutant.line, [])
        yield from reaching
        if mutant.name.startswith("module:") or mutant.name.count(":left") or mutant.name.count(":always"):
            others = set(reaching)
            yield from (number for number in range(self._statements.number) if number not in others)


class _Verdicts:
    """A plugin of pytest that keeps the names of the tests that fail."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def _run(arguments: list[str]) -> list[str]:
    verdicts = _Verdicts()
    files = [f"tests/enforcers/postgres/describe/{name}.py" for name in _FILES]
    here = [name for name in files if (ROOT / name).exists()]
    flags = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    flags += ["--assert=plain", "-k", _NOT, *arguments]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        code = pytest.main([*here, *flags], plugins=[verdicts])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:
        raise RuntimeError(f"pytest says {code!r}")
    return verdicts.failed


def _pytest(deselected: Sequence[str]) -> str:
    failed = _run(["-x", *(f"--deselect={name}" for name in deselected)])
    return failed[0] if failed else ""


def _unchanged_failures() -> list[str]:
    """The tests that fail without a server: they are not asked."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            out.write("\n".join(_run([])))
            out.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        found = answer.read().split("\n")
    os.waitpid(child, 0)
    return [name for name in found if name]
