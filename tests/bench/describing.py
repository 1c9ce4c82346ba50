"""What describing a statement costs: one of TPC-H size that was never seen, and one whose shape was.

In this process, against the catalog of a real database with TPC-H's tables (tpch.sql), by CPU time.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import asyncpg

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import SessionNames
from tests.bench.world import World

SCHEMA = (Path(__file__).parent / "tpch.sql").read_text(encoding="utf-8")
# The size of TPC-H's queries 5, 8 and 21, for which their tables are.
STATEMENTS = (
    "SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue FROM customer, orders, lineitem, supplier,"
    " nation, region WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey"
    " AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'A{}'"
    " AND o_orderdate >= date '1994-01-01' AND o_orderdate < date '1994-01-01' + interval '1' year"
    " GROUP BY n_name ORDER BY revenue DESC",
    "SELECT year, sum(CASE WHEN nation = 'B{}' THEN volume ELSE 0 END) / sum(volume) AS share FROM (SELECT"
    " extract(year FROM o_orderdate) AS year, l_extendedprice * (1 - l_discount) AS volume, n2.n_name AS nation"
    " FROM goods, supplier, lineitem, orders, customer, nation n1, nation n2, region WHERE p_partkey = l_partkey"
    " AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey AND o_custkey = c_custkey AND c_nationkey = n1.n_nationkey"
    " AND n1.n_regionkey = r_regionkey AND r_name = 'SOMEWHERE' AND s_nationkey = n2.n_nationkey"
    " AND o_orderdate BETWEEN date '1995-01-01' AND date '1996-12-31' AND p_type = 'STEEL') AS every_nation"
    " GROUP BY year ORDER BY year",
    "SELECT s_name, count(*) AS waiting FROM supplier, lineitem l1, orders, nation WHERE s_suppkey = l1.l_suppkey"
    " AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F' AND l1.l_receiptdate > l1.l_commitdate AND EXISTS"
    " (SELECT * FROM lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey) AND NOT EXISTS"
    " (SELECT * FROM lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey AND l3.l_suppkey <> l1.l_suppkey"
    " AND l3.l_receiptdate > l3.l_commitdate) AND s_nationkey = n_nationkey AND n_name = 'N{}'"
    " GROUP BY s_name ORDER BY waiting DESC, s_name LIMIT 100",
)
NAMES = SessionNames(database="tpch", search_path=("pg_catalog", "public"), effective_role="r", session_role="r")
COLD_MS, SHAPE_US = 2.0, 20.0


async def _catalog(world: World) -> Catalog:
    database = world.stack.database
    database.run("CREATE DATABASE tpch")
    database.run(SCHEMA, database="tpch")
    source = CatalogSource(
        lambda: asyncpg.connect(
            host="127.0.0.1", port=database.port, user="postgres", password=database.admin_password, database="tpch"
        )
    )
    await source.start()
    catalog = source.catalog
    await source.close()
    return catalog


def _seconds(describer: Describer, catalog: Catalog, text: str) -> float:
    begun = time.process_time()
    found = describer.describe_message(text.encode(), catalog=catalog, names=NAMES)
    took = time.process_time() - begun
    if not isinstance(found, list) or found[0].template.opaque:
        raise RuntimeError("a statement of the benchmark isn't described")
    return took


def measure(world: World, count: int) -> list[dict[str, object]]:
    catalog = asyncio.run(_catalog(world))
    cold, seen = [], []
    for number in range(count):
        for statement in STATEMENTS:
            describer = Describer(64)
            cold.append(_seconds(describer, catalog, statement.format(number)))
            _seconds(describer, catalog, statement.format(f"{number}b"))  # its pattern is made when a second one asks
            seen.append(_seconds(describer, catalog, statement.format(f"{number}c")))
    return [
        {
            "cell": "describe a statement of TPC-H size, never seen, ms",
            "group": "describe",
            "first_ms": round(cold[0] * 1000, 2),  # nothing at hand of this catalog either
            "median_ms": round(statistics.median(cold) * 1000, 2),
            "ceiling": COLD_MS,
        },
        {
            "cell": "describe a statement of TPC-H size whose shape was seen, us",
            "group": "describe",
            "value": round(statistics.median(seen) * 1_000_000, 1),
            "ceiling": SHAPE_US,
        },
    ]
