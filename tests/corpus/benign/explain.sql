-- explain
EXPLAIN SELECT name FROM patients WHERE id = 1

-- explain without costs
EXPLAIN (COSTS OFF) SELECT w.name, count(*) FROM wards w JOIN patients p ON p.ward = w.id GROUP BY 1

-- explain verbose
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM shop.orders WHERE placed > '2026-02-01'

-- explain analyze
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT count(*) FROM shop.orders

-- explain as json
EXPLAIN (FORMAT json) SELECT name FROM shop.customers WHERE city = 'Oslo'

-- explain as yaml
EXPLAIN (FORMAT yaml, COSTS OFF) SELECT name FROM shop.customers

-- explain as xml
EXPLAIN (FORMAT xml, COSTS OFF) SELECT name FROM shop.customers

-- explain with settings
EXPLAIN (SETTINGS, COSTS OFF) SELECT 1

-- explain generic | min=16
EXPLAIN (GENERIC_PLAN, COSTS OFF) SELECT name FROM wards WHERE id = $1

-- explain of a view
EXPLAIN (COSTS OFF) SELECT * FROM shop.sales

-- explain of a CTE
EXPLAIN (COSTS OFF) WITH c AS MATERIALIZED (SELECT id FROM wards) SELECT * FROM c

-- explain of a union
EXPLAIN (COSTS OFF) SELECT id FROM wards UNION SELECT id FROM shop.customers

-- explain of a window
EXPLAIN (COSTS OFF) SELECT row_number() OVER (ORDER BY id) FROM wards

-- explain of a function scan
EXPLAIN SELECT * FROM generate_series(1, 10)

-- explain of a partitioned table
EXPLAIN (COSTS OFF) SELECT * FROM shop.log WHERE day = '2026-02-02'

-- explain of values
EXPLAIN VALUES (1), (2)

-- explain of a prepared statement
PREPARE q(int) AS SELECT name FROM wards WHERE id = $1
EXPLAIN (COSTS OFF) EXECUTE q(1)

-- explain of a semi-join
EXPLAIN (COSTS OFF) SELECT name FROM wards WHERE id IN (SELECT ward FROM patients)

-- explain of an index
EXPLAIN (COSTS OFF) SELECT name FROM shop.products WHERE lower(name) = 'product 1'

-- explain of an aggregate
EXPLAIN SELECT state, count(*) FROM shop.orders GROUP BY state
