"""Print which of a server's built-in functions tell nothing of their arguments, and why: for review of a new version.

    python tools/telling_functions.py postgresql://user@host/db            the functions, by what lets them pass
    python tools/telling_functions.py postgresql://user@host/db --rest     those that a reviewer might look at next

Derived from the catalog: built in, internal, a plain function, not volatile, no set. Of these `leakproof` ones pass by
PostgreSQL's own word; `reviewed` ones by enforcers/postgres/describe/telling.py, which names the C function and, where
not all arguments are safe, which are. The rest is taken to tell. A name in the list that the server doesn't have is
printed last, since it may have been renamed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enforcers.postgres.describe.telling import REVIEWED

CANDIDATES = """
SELECT p.prosrc, p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')', p.proleakproof
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid < 16384 AND l.lanname = 'internal' AND p.prokind = 'f' AND NOT p.proretset
  AND (p.provolatile <> 'v' OR p.proleakproof)
  AND NOT p.proargtypes::pg_catalog.oid[] && ARRAY[2281, 2275]::pg_catalog.oid[] -- internal, cstring
ORDER BY 1, 2
"""
Row = tuple[str, str, bool]


def derived(rows: Iterable[Row]) -> tuple[list[str], list[str], list[str]]:
    """(what passes and why, what is left, names in the list that no function has)"""
    passing, left = [], []
    missing = set(REVIEWED)
    for source, signature, leakproof in rows:
        missing.discard(source)
        if leakproof:
            passing.append(f"leakproof\t{signature}")
        elif source in REVIEWED:
            places = REVIEWED[source]
            only = f" of arguments {', '.join(str(place + 1) for place in places)}" if places else ""
            passing.append(f"reviewed{only}\t{signature}")
        else:
            left.append(f"tells\t{signature}")
    return passing, left, sorted(missing)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dsn")
    parser.add_argument("--rest", action="store_true", help="print what does not pass")
    options = parser.parse_args()
    connection = await asyncpg.connect(options.dsn)
    try:
        rows = [(str(row[0]), str(row[1]), bool(row[2])) for row in await connection.fetch(CANDIDATES)]
    finally:
        await connection.close()
    passing, left, missing = derived(rows)
    for text in left if options.rest else passing:
        print(text)
    for name in missing:
        print(f"not on this server\t{name}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
