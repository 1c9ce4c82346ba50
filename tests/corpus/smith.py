"""sqlsmith's statements through the same checks as the generator's own (judge.py).

    python -m tests.corpus.smith [--statements N] [--seed N] [--postgres maven:18]

sqlsmith reads the field's schema as it is and writes statements over all of it, with whatever functions it finds. What
it writes names no role's limits, so what is denied is the policy's to deny; of the rest no canary may be seen, the two
databases must answer alike, and what reads nothing classified must be answered as it is directly.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

from decision.cli.demo.postgres import VARIABLE, choose
from enforcers.postgres import wire
from tests.corpus import worlds
from tests.corpus.attack import Answer
from tests.corpus.field import Field
from tests.corpus.generate import Statement
from tests.corpus.judge import Judge, unordered
from tools import sqlsmith

_PATIENCE_S = 300
# What is another each time, or waits, or tells of the session it is asked in.
_UNSTEADY = re.compile(
    r"random|now|clock_|_timestamp|current_|localtime|pg_backend|txid|xact|snapshot|pg_stat|inet_|_pid|sleep|uuid|lock|"
    r"setval|nextval|currval|lastval|_lsn|wal|tablesample|pg_postmaster|age\(|timeofday|limit|pg_notification|version|"
    r"pg_conf|recovery|pg_logical|pg_replication|temp_|lo_|ctid|xmin|xmax|cmin|cmax",
    re.I,
)
# Joins along a foreign key, which the shipped data permits: they tell which rows belong together.
_PERMITTED = re.compile(r"v_join|badges.*patients|patients.*badges", re.S)
_TIMEOUT = b"57014"


def written(field: Field, seed: int, count: int) -> Iterator[str]:
    """Statements that sqlsmith would send to the direct database; it sends none."""
    program, libraries = sqlsmith.obtain()
    place = field.direct("direct_a")
    target = f"host=127.0.0.1 port={place.port} user={place.user} password={place.password} dbname={place.database}"
    command = [str(program), f"--target={target}", "--dry-run", "--exclude-catalog", f"--seed={seed}"]
    command.append(f"--max-queries={count}")
    environ = {**os.environ, "LD_LIBRARY_PATH": libraries}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=_PATIENCE_S, check=False)
    for text in re.split(r";\s*\n", done.stdout):
        statement = " ".join(text.split())
        if statement:
            yield statement


def touches(text: str, names: frozenset[str]) -> bool:
    """Does it name a relation with a classified column?"""
    return any(re.search(rf"\b{re.escape(name)}\b", text) for name in names)


def classified(field: Field) -> frozenset[str]:
    """Relations from which something classified can be reached: all but the schemas that hold none."""
    found = field.stack.database.run(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('public', 'rnd') AND c.relkind IN ('r', 'v', 'm', 'p', 'f')",
        database="a",
    )
    return frozenset(found.split()) - {"wards", "scratch", "v_clean"}


def problem(judge: Judge, made: Statement) -> str:
    """As Judge.problem, but what can't be compared isn't."""
    a = judge.ask("gateway a", made)
    if a.denied:
        judge.counted["denied"] += 1
    else:
        judge.counted["answered" if made.touches else "untouched"] += 1
    found = judge.seen(a)
    if found:
        return found
    if a.denied and not a.rows and judge.counted["denied"] % 10:
        return ""
    if _late(a) or _UNSTEADY.search(made.text) or _PERMITTED.search(made.text):
        judge.counted["not compared"] += 1
        return ""
    b = judge.ask("gateway b", made)
    if unordered(a) != unordered(b) and not _late(b):
        return f"a and b differ: {a.shown()} / {b.shown()}"
    if made.touches or a.denied:
        return ""
    direct = judge.ask("direct a", made)
    if unordered(direct) != unordered(a) and not _late(direct):
        return f"changed: {a.shown()} instead of {direct.shown()}"
    return ""


def _late(answer: Answer) -> bool:
    return any(kind == "E" and wire.parse_fields(raw)["C"] == _TIMEOUT for kind, raw in answer.frames)


def run(field: Field, *, seed: int, count: int) -> tuple[list[str], Counter[str]]:
    names = classified(field)
    judge = Judge(field)
    found = []
    try:
        for text in written(field, seed, count):
            made = Statement(text, "simple" if len(text) % 2 else "binary", touches(text, names))
            what = problem(judge, made)
            if what:
                found.append(f"{made.way}: {text}\n    {what}")
    finally:
        judge.close()
    return found, judge.counted


def main() -> int:
    parser = argparse.ArgumentParser(description="sqlsmith's statements of a masked role.")
    parser.add_argument("--statements", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", default=os.environ.get(VARIABLE, "maven:18"))
    options = parser.parse_args()
    os.environ[VARIABLE] = str(choose(options.postgres))
    with Field(world=worlds.make(options.seed), seed=options.seed) as field:
        found, counted = run(field, seed=options.seed, count=options.statements)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    asked = counted["denied"] + counted["answered"] + counted["untouched"]
    sys.stdout.write(f"sqlsmith: {asked} statements: {dict(counted)}, {len(found)} problems\n")
    return int(bool(found) or not asked)


if __name__ == "__main__":
    sys.exit(main())
