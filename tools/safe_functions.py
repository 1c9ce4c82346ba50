"""Print how each built-in function of a server was classed: safe, or why not.

    python tools/safe_functions.py postgresql://user@host/database

For the review of a new major version: compare the output of two servers, look at every line that is new.
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe.safe_functions import builtin_effect, is_safe


async def main(dsn: str) -> None:
    source = CatalogSource(lambda: asyncpg.connect(dsn))
    await source.start()
    functions = source.catalog.builtins.objects.functions.values()
    lines = set()
    for function in functions:
        verb, code = builtin_effect(function)
        state = "safe" if is_safe(function) else f"not safe {verb} {code}".rstrip()
        lines.add(f"{function.schema}.{function.name}/{function.arguments}\t{function.volatility}\t{state}")
    print("\n".join(sorted(lines)))
    await source.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
