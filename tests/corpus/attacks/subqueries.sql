-- a subquery
SELECT q.s FROM (SELECT ssn AS s FROM patients) q

-- three deep
SELECT c FROM (SELECT b AS c FROM (SELECT ssn AS b FROM patients) x) y

-- a scalar subquery
SELECT (SELECT ssn FROM patients WHERE id = 1)

-- a correlated scalar subquery
SELECT w.id, (SELECT p.ssn FROM patients p WHERE p.id = w.id) FROM wards w

-- an array subquery
SELECT ARRAY(SELECT ssn FROM patients ORDER BY id)

-- a CTE
WITH c AS (SELECT ssn FROM patients) SELECT * FROM c

-- a CTE under another name
WITH c(z) AS (SELECT ssn FROM patients) SELECT z AS id FROM c

-- a materialized CTE
WITH c AS MATERIALIZED (SELECT ssn FROM patients) SELECT ssn FROM c

-- a CTE that shadows the table
WITH patients AS (SELECT id, ssn AS name FROM public.patients) SELECT name FROM patients

-- a CTE over a CTE
WITH a AS (SELECT id, ssn FROM patients), b AS (SELECT ssn AS t FROM a) SELECT t FROM b

-- a recursive CTE
WITH RECURSIVE r(n, s) AS (SELECT 1, ssn FROM patients WHERE id = 1 UNION ALL SELECT n + 1, p.ssn FROM r, patients p
 WHERE p.id = r.n + 1) SELECT s FROM r

-- a recursive CTE that takes it apart
WITH RECURSIVE r(n, c, rest) AS (SELECT 0, ''::text, ssn FROM patients WHERE id = 1
 UNION ALL SELECT n + 1, left(rest, 1), substr(rest, 2) FROM r WHERE rest <> '') SELECT c FROM r

-- a CTE with search
WITH RECURSIVE r(n, s) AS (SELECT 1, ssn FROM patients WHERE id = 1 UNION ALL SELECT n + 1, s FROM r WHERE n < 3)
 SEARCH DEPTH FIRST BY s SET o SELECT o FROM r

-- a CTE with cycle
WITH RECURSIVE r(n, s) AS (SELECT 1, ssn FROM patients WHERE id = 1 UNION ALL SELECT 1, s FROM r)
 CYCLE s SET seen USING path SELECT path FROM r

-- LATERAL
SELECT l.s FROM patients p, LATERAL (SELECT p.ssn AS s) l

-- LATERAL with VALUES
SELECT v.x FROM patients p, LATERAL (VALUES (p.ssn)) v(x)

-- LATERAL with unnest
SELECT u FROM patients p, LATERAL unnest(ARRAY[p.ssn, p.email]) u

-- LATERAL function
SELECT u FROM patients p, regexp_split_to_table(p.ssn, '') u

-- VALUES with a subquery
VALUES ((SELECT ssn FROM patients WHERE id = 1))

-- UNION
SELECT ssn FROM patients UNION SELECT name FROM wards

-- UNION ALL
SELECT name FROM wards UNION ALL SELECT ssn FROM patients

-- UNION shifted by a position
SELECT id::text, name FROM patients UNION ALL SELECT ssn, email FROM patients

-- INTERSECT
SELECT ssn FROM patients INTERSECT SELECT ssn FROM badges

-- EXCEPT
SELECT ssn FROM patients EXCEPT SELECT 'x'

-- EXCEPT tells by rows
SELECT name FROM (SELECT name, ssn FROM patients EXCEPT ALL SELECT name, '1' FROM patients) x WHERE ssn LIKE '1%'

-- a nested set operation
(SELECT 'x' UNION ALL (SELECT ssn FROM patients ORDER BY id LIMIT 3)) ORDER BY 1

-- ROWS FROM
SELECT * FROM patients p, ROWS FROM (unnest(ARRAY[p.ssn]), generate_series(1, 2)) AS r(x, n)

-- WITH ORDINALITY
SELECT x, n FROM patients p, unnest(string_to_array(p.ssn, NULL)) WITH ORDINALITY AS t(x, n)

-- a join of subqueries by NATURAL
SELECT * FROM (SELECT id, ssn FROM patients) a NATURAL JOIN (SELECT id, floor FROM badges) b

-- TABLESAMPLE
SELECT ssn FROM patients TABLESAMPLE BERNOULLI (100)
