-- the same name elsewhere
SELECT ssn FROM other.patients ORDER BY id

-- the same table name elsewhere
SELECT * FROM other.patients ORDER BY id

-- conditions on it
SELECT id FROM other.patients WHERE ssn LIKE 'plain-%' AND email > 'b' ORDER BY id

-- ordered by it
SELECT id FROM other.patients ORDER BY ssn

-- aggregates over it
SELECT max(ssn), min(email), sum(salary) FROM other.patients

-- expressions over it
SELECT upper(ssn), md5(email), salary + 1 FROM other.patients ORDER BY id

-- grouped by it
SELECT diagnosis, count(*) FROM other.visits GROUP BY diagnosis ORDER BY 1

-- joined by it
SELECT a.id FROM other.patients a JOIN other.patients b ON a.ssn = b.ssn ORDER BY 1

-- joined with the classified table by a key
SELECT o.ssn, p.name FROM other.patients o JOIN public.patients p USING (id) ORDER BY 1

-- a view over it
SELECT email FROM other.listing ORDER BY id

-- an alias that is a classified name
SELECT name AS ssn, status AS email FROM patients ORDER BY id

-- a CTE that bears the name
WITH patients AS (SELECT 1 AS ssn) SELECT ssn FROM patients

-- a subquery that bears the name
SELECT x.ssn FROM (SELECT id AS ssn FROM wards) x ORDER BY 1

-- a values list that bears the name
SELECT ssn, upper(ssn) FROM (VALUES ('a'), ('b')) v(ssn)

-- a record that bears the name
SELECT ssn || 'x' FROM jsonb_to_record('{"ssn": "1"}') AS r(ssn text)

-- a json key that bears the name
SELECT '{"ssn": 1}'::jsonb ->> 'ssn'

-- a literal that bears the name
SELECT 'ssn', 'patients.ssn', $$public.patients.ssn$$

-- a search path that leads elsewhere | void=planners_may_not_set_search_path
SELECT count(*) FROM other.patients WHERE salary > 20

-- copy of it | modes=simple
COPY other.patients TO STDOUT

-- whole row of it
SELECT p FROM other.patients p ORDER BY id

-- to_jsonb of it
SELECT to_jsonb(p) FROM other.patients p ORDER BY id

-- a window over it
SELECT id, rank() OVER (ORDER BY ssn) FROM other.patients ORDER BY id

-- distinct over it
SELECT DISTINCT diagnosis FROM other.visits ORDER BY 1

-- explain over it
EXPLAIN (COSTS OFF) SELECT ssn FROM other.patients WHERE ssn = 'x'

-- in both schemas
SELECT p.id, p.name, o.email FROM public.patients p LEFT JOIN other.patients o ON o.id = p.id ORDER BY 1
