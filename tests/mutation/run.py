"""Takes away one rule of masking's analysis at a time, and lists those whose loss no test notices.

    python -m tests.mutation.run [--modules lineage,calls …] [--only rules] [--fresh] [--list]

Two kinds: the Python that describes (mutants.py, trial.py) and the Rego that decides (policies.py). What was found is
kept below TWOKEY_CACHE and not tried again while module and tests are the same, so that a run can be stopped and gone
on with. The exit status is 1 while a mutant survives that equivalent.txt does not explain.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["TWOKEY_PURE"] = "1"  # before the first module of the gateway's: of a compiled one no line is traced

from tests.mutation import policies
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "enforcers" / "postgres" / "describe"
MODULES = (
    "lineage", "resolution", "telling", "calls", "operators", "conditionals", "casts", "constants", "joins", "flows",
    "expressions", "queries", "references", "relations", "rowsources", "statements",
    "build", "context", "copying", "counted", "definitions", "describer", "effects", "foreign", "functions", "labelled",
    "labels", "literals", "output", "pg_settings", "safe_functions", "settings", "shape", "tags", "utility", "verify",
    "unlabelling", "digest",
)  # fmt: skip
_TESTED = ("tests/enforcers/postgres/describe", "tests/mutation")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")


@dataclass(slots=True)
class Ledger:
    """What is known of mutants already: a line of JSON each, the last one counts."""

    path: Path
    known: dict[str, dict[str, str]]

    @staticmethod
    def open(*, fresh: bool) -> Ledger:
        folder = Path(os.environ.get("TWOKEY_CACHE", ROOT / ".cache")) / "mutation"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "found.jsonl"
        known: dict[str, dict[str, str]] = {}
        if path.exists() and not fresh:
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                known[entry["key"]] = entry
        return Ledger(path, known)

    def killed(self, key: str, module: str, tests: str) -> str | None:
        """By what; "" when nothing; None: not known. Who was killed stays so while its module is the same."""
        entry = self.known.get(key)
        if entry is None or entry["module"] != module or (not entry["killed"] and entry["tests"] != tests):
            return None
        return entry["killed"]

    def keep(self, key: str, module: str, tests: str, killed: str) -> None:
        entry = {"key": key, "module": module, "tests": tests, "killed": killed}
        self.known[key] = entry
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")


def digest(paths: Iterable[Path]) -> str:
    made = hashlib.sha256()
    for path in sorted(paths):
        made.update(path.read_bytes())
    return made.hexdigest()[:16]


def equivalent() -> dict[str, str]:
    """Mutants that change nothing anybody can see, and why: `key — reason` a line."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    return {key: why for key, _, why in (line.partition(" — ") for line in lines if line and line[0] != "#")}


def python(modules: Sequence[str], ledger: Ledger, *, rules: bool) -> Iterable[tuple[str, str, str, int]]:
    """(module, key, killed by, line) of each mutant."""
    tests = digest(path for folder in _TESTED for path in (ROOT / folder).glob("*.[pts][yxq]*"))
    trial = None
    for module in modules:
        path = FOLDER / f"{module}.py"
        source = digest([path])
        wanted: list[Mutant] = [item for item in mutants(path) if item.rule or not rules]
        for mutant in wanted:
            killed = ledger.killed(mutant.key, source, tests)
            if killed is None:
                if trial is None:
                    trial = Trial()
                killed = trial.outcome(mutant).killed
                ledger.keep(mutant.key, source, tests, killed)
            yield module, mutant.key, killed, mutant.line


def rego(name: str, ledger: Ledger) -> Iterable[tuple[str, str, str, int]]:
    tests = digest((ROOT / "rego").rglob("*_test.rego"))
    policies.unchanged()
    for path in policies.FILES[name]:
        source = digest([path])
        for mutant in policies.mutants(path):
            killed = ledger.killed(mutant.key, source, tests)
            if killed is None:
                killed = policies.killed(path, mutant)
                ledger.keep(mutant.key, source, tests, killed)
            yield f"rego/{path.stem}", mutant.key, killed, mutant.line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", default=",".join((*MODULES, *policies.FILES)))
    parser.add_argument("--only", choices=["rules"], help="not each branch, only tables, reports and whole functions")
    parser.add_argument("--fresh", action="store_true", help="try again what is known")
    options = parser.parse_args()
    asked = options.modules.split(",")
    ledger = Ledger.open(fresh=options.fresh)
    explained = equivalent()
    counted: dict[str, Counter[str]] = {}
    survivors = 0
    began = time.monotonic()
    found = [python([name for name in asked if name not in policies.FILES], ledger, rules=options.only == "rules")]
    found += [rego(name, ledger) for name in policies.FILES if name in asked]
    for results in found:
        for module, key, killed, line in results:
            how = "killed" if killed and killed != "stillborn" else killed or "survives"
            if how == "survives" and key in explained:
                how = "equivalent"
            counted.setdefault(module, Counter())[how] += 1
            if how == "survives":
                survivors += 1
                sys.stdout.write(f"survives: {key} (line {line})\n")
                sys.stdout.flush()
    sys.stdout.write("\n| module | mutants | killed | explained | survive |\n|---|---|---|---|---|\n")
    for module, tally in counted.items():
        born = sum(tally.values()) - tally["stillborn"]
        sys.stdout.write(f"| {module} | {born} | {tally['killed']} | {tally['equivalent']} | {tally['survives']} |\n")
    sys.stdout.write(f"{survivors} survive; {time.monotonic() - began:.0f} s\n")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
