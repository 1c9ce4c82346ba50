-- defaults | verdict=denied

-- WHERE
SELECT id FROM patients WHERE ssn LIKE '1%'

-- WHERE with equality
SELECT count(*) FROM patients WHERE left(ssn, 1) = '1'

-- WHERE on a boolean
SELECT id FROM patients WHERE flag ORDER BY id

-- WHERE NOT
SELECT id FROM patients WHERE NOT flag ORDER BY id

-- WHERE in a subquery
SELECT name FROM patients WHERE id IN (SELECT id FROM patients WHERE ssn > '5') ORDER BY 1

-- EXISTS
SELECT EXISTS (SELECT 1 FROM patients WHERE id = 1 AND ssn LIKE '1%')

-- NOT EXISTS
SELECT w.id FROM wards w WHERE NOT EXISTS (SELECT FROM patients p WHERE p.ward = w.id AND p.ssn < '5') ORDER BY 1

-- a correlated condition far away
SELECT (SELECT count(*) FROM wards WHERE p.ssn LIKE '1%') FROM patients p ORDER BY id

-- IN a list
SELECT id FROM visits WHERE severity IN (10, 11) ORDER BY id

-- ANY of a subquery
SELECT 10 = ANY (SELECT severity FROM visits)

-- quantified ALL
SELECT 15 > ALL (SELECT severity FROM visits WHERE severity IS NOT NULL)

-- JOIN ON
SELECT w.id FROM wards w JOIN patients p ON p.ward = w.id AND p.ssn > '5' ORDER BY 1

-- JOIN ON between two of them | verdict=permitted
SELECT b.floor, p.id FROM badges b JOIN patients p ON p.ssn = b.ssn ORDER BY 1, 2

-- JOIN USING | verdict=permitted
SELECT b.id, p.id FROM badges b JOIN patients p USING (ssn) ORDER BY 1, 2

-- NATURAL JOIN | verdict=permitted
SELECT count(*) FROM (SELECT ssn FROM badges) b NATURAL JOIN patients

-- outer join tells by NULLs
SELECT w.id, p.id FROM wards w LEFT JOIN patients p ON p.id = w.id AND p.flag ORDER BY 1

-- join with VALUES
SELECT v.g FROM (VALUES (10), (20)) v(g) JOIN visits ON severity = v.g LIMIT 1

-- anti-join
SELECT id FROM patients EXCEPT SELECT p.id FROM patients p WHERE p.flag ORDER BY 1

-- ORDER BY
SELECT id FROM patients ORDER BY ssn

-- ORDER BY an expression
SELECT id FROM patients ORDER BY reverse(ssn)

-- ORDER BY USING
SELECT id FROM patients ORDER BY ssn USING >

-- ORDER BY in a subquery
SELECT id FROM (SELECT id FROM patients ORDER BY ssn) q

-- ORDER BY with LIMIT
SELECT id FROM patients ORDER BY ssn LIMIT 1

-- ORDER BY a position
SELECT flag, id FROM patients ORDER BY 1, 2

-- LIMIT from it
SELECT id FROM patients ORDER BY id LIMIT (SELECT CASE WHEN ssn LIKE '1%' THEN 1 ELSE 2 END FROM patients WHERE id = 1)

-- OFFSET from it
SELECT id FROM patients ORDER BY id OFFSET (SELECT ascii(ssn) - 49 FROM patients WHERE id = 1)

-- TABLESAMPLE from it
SELECT id FROM wards TABLESAMPLE BERNOULLI ((SELECT CASE WHEN ssn LIKE '1%' THEN 100 ELSE 0 END FROM patients WHERE id = 1))

-- REPEATABLE from it
SELECT id FROM wards TABLESAMPLE BERNOULLI (50) REPEATABLE ((SELECT ascii(ssn) FROM patients WHERE id = 1))

-- rows by generate_series
SELECT g FROM patients, generate_series(1, ascii(ssn) - 48) g WHERE id = 1

-- rows by unnest
SELECT 1 FROM patients, unnest(string_to_array(email, NULL)) u

-- rows of a set-returning function in the list
SELECT id, generate_series(1, ascii(ssn) - 48) FROM patients WHERE id = 1

-- rows by repeat and split
SELECT 1 FROM patients, regexp_split_to_table(ssn, 'x') u

-- rows of a recursive CTE
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, patients p WHERE p.id = 1 AND n < ascii(p.ssn) - 48)
 SELECT count(*) FROM r

-- ROWS FROM
SELECT count(*) FROM patients p, ROWS FROM (generate_series(1, ascii(p.ssn) - 48)) g WHERE p.id = 1

-- jsonb_array_elements
SELECT count(*) FROM patients p, jsonb_path_query(notes, '$.list[*] ? (@ starts with "2")')

-- a view's condition
SELECT * FROM v_where

-- count over a view's condition
SELECT count(*) FROM v_where

-- a view's join | verdict=permitted
SELECT * FROM v_join ORDER BY id

-- the union's duplicates
SELECT count(*) FROM (SELECT severity FROM visits UNION SELECT 1) x

-- INTERSECT with a guess
SELECT count(*) FROM (SELECT left(ssn, 1) FROM patients INTERSECT SELECT '1') x

-- a row comparison
SELECT id FROM patients WHERE (flag, id) > (false, 3) ORDER BY id

-- a WHERE on a whole row
SELECT id FROM patients p WHERE p.* IS NOT NULL ORDER BY id

-- a WHERE on the row as text
SELECT id FROM patients p WHERE p::text LIKE '%,1%' ORDER BY id

-- a condition through a CTE
WITH c AS (SELECT id, ssn FROM patients) SELECT id FROM c WHERE ssn > '5' ORDER BY id

-- a condition through an alias
SELECT a FROM patients AS p(a, b, c, d, e) WHERE e > '5' ORDER BY a

-- a condition on a jsonb member
SELECT id FROM patients WHERE notes @> '{"list": []}' AND notes ->> 'cause' LIKE '1%'

-- a condition by an index's expression
SELECT id FROM patients WHERE upper(ssn) LIKE '1%'

-- a HAVING without a group
SELECT 1 FROM patients HAVING max(ssn) < '9'

-- a window order
SELECT id, row_number() OVER (ORDER BY ssn) FROM patients ORDER BY id

-- the first of an order
SELECT first_value(id) OVER (ORDER BY ssn) FROM patients LIMIT 1

-- count(col)
SELECT count(email) FROM patients

-- an estimate
EXPLAIN SELECT id FROM visits WHERE severity = 10

-- an estimate of a join
EXPLAIN (FORMAT json) SELECT 1 FROM visits WHERE diagnosis > '5'

-- an analysed plan's rows
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT id FROM visits WHERE severity = 10

-- an analysed plan's filter
EXPLAIN (ANALYZE, VERBOSE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT id FROM visits WHERE severity > 11 AND diagnosis IS NOT NULL

-- an estimate through PREPARE
PREPARE e AS SELECT id FROM visits WHERE severity = 10
EXPLAIN EXECUTE e

-- an estimate of a list
EXPLAIN SELECT id FROM visits v WHERE severity = ANY ('{10,11}')

-- system columns under a condition
SELECT ctid FROM patients WHERE flag ORDER BY 1

-- FOR UPDATE SKIP LOCKED
SELECT id FROM patients WHERE flag ORDER BY id FOR UPDATE SKIP LOCKED

-- tableoid of partitions by a condition
SELECT tableoid::regclass, count(*) FROM events WHERE secret > '4' GROUP BY 1 ORDER BY 1

-- CASE in ORDER BY
SELECT id FROM patients ORDER BY CASE WHEN flag THEN 1 ELSE 2 END, id

-- a comparison in GROUP BY of a CTE
WITH c AS (SELECT flag, id FROM patients) SELECT min(id) FROM c GROUP BY flag ORDER BY 1

-- a semi-join by IN
SELECT id FROM badges WHERE ssn IN (SELECT ssn FROM patients WHERE id = 1)

-- NOT IN with NULLs
SELECT count(*) FROM scratch WHERE word NOT IN (SELECT diagnosis FROM visits WHERE id BETWEEN 7 AND 8)
