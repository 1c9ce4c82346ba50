-- a constant
SELECT 1

-- many constants
SELECT 1 AS a, 'x' AS b, NULL AS c, true AS d, 1.5 AS e, ARRAY[1, 2] AS f, '{"a": 1}'::jsonb AS g, now() - now() AS h

-- an unclassified column
SELECT name FROM patients ORDER BY id

-- all unclassified columns
SELECT id, name, ward, status FROM patients ORDER BY id

-- a condition on one
SELECT id FROM patients WHERE status = 'open' ORDER BY id

-- count of rows
SELECT count(*) FROM patients

-- count of a column
SELECT count(name), count(DISTINCT status) FROM patients

-- a group
SELECT ward, count(*) FROM patients GROUP BY ward ORDER BY ward

-- a group with having
SELECT status, min(id), max(name) FROM patients GROUP BY status HAVING count(*) > 1 ORDER BY 1

-- a join over a key
SELECT p.name, w.name FROM patients p JOIN wards w ON w.id = p.ward ORDER BY p.id

-- a left join
SELECT w.name, p.id FROM wards w LEFT JOIN patients p ON p.ward = w.id ORDER BY 1, 2

-- a join of three
SELECT w.name, p.name, v.day, v.cost FROM visits v JOIN patients p ON p.id = v.patient JOIN wards w ON w.id = p.ward
 WHERE v.id < 10 ORDER BY v.id

-- an aggregate over a join
SELECT w.name, sum(v.cost), avg(v.cost) FROM visits v JOIN patients p ON p.id = v.patient JOIN wards w ON w.id = p.ward
 GROUP BY w.name ORDER BY 1

-- a subquery
SELECT name FROM wards WHERE id IN (SELECT ward FROM patients WHERE status = 'open') ORDER BY 1

-- exists
SELECT name FROM wards w WHERE EXISTS (SELECT 1 FROM patients p WHERE p.ward = w.id) ORDER BY 1

-- not exists
SELECT name FROM wards w WHERE NOT EXISTS (SELECT FROM patients p WHERE p.ward = w.id) ORDER BY 1

-- a scalar subquery
SELECT name, (SELECT count(*) FROM patients p WHERE p.ward = w.id) FROM wards w ORDER BY id

-- a CTE
WITH open AS (SELECT id, name FROM patients WHERE status = 'open') SELECT * FROM open ORDER BY id

-- a CTE used twice
WITH v AS (SELECT patient, sum(cost) AS s FROM visits GROUP BY patient)
 SELECT a.patient, b.s - a.s FROM v a JOIN v b ON b.patient = a.patient + 1 ORDER BY 1

-- a recursive CTE
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT sum(n) FROM r

-- a window
SELECT id, row_number() OVER (PARTITION BY ward ORDER BY id) FROM patients ORDER BY id

-- a running sum
SELECT id, sum(cost) OVER (ORDER BY id) FROM visits WHERE id < 20 ORDER BY id

-- several windows
SELECT id, rank() OVER w, lag(name) OVER w FROM patients WINDOW w AS (ORDER BY id) ORDER BY id

-- a union
SELECT name FROM wards UNION SELECT status FROM patients ORDER BY 1

-- an intersection
SELECT id FROM wards INTERSECT SELECT ward FROM patients ORDER BY 1

-- an exception
SELECT id FROM wards EXCEPT SELECT ward FROM patients ORDER BY 1

-- distinct
SELECT DISTINCT status FROM patients ORDER BY 1

-- distinct on
SELECT DISTINCT ON (ward) ward, id FROM patients ORDER BY ward, id DESC

-- limit and offset
SELECT id FROM visits ORDER BY id LIMIT 5 OFFSET 7

-- fetch first with ties
SELECT ward FROM patients ORDER BY ward FETCH FIRST 2 ROWS WITH TIES

-- case
SELECT id, CASE status WHEN 'open' THEN 1 ELSE 0 END FROM patients ORDER BY id

-- coalesce
SELECT coalesce(city, 'nowhere') FROM shop.customers ORDER BY id

-- string functions
SELECT upper(name), lower(name), length(name), substr(name, 1, 3), replace(name, 'N', 'n'), name || '!' FROM patients ORDER BY id

-- hashing what is no secret
SELECT md5(name), encode(sha256(name::bytea), 'hex') FROM patients ORDER BY id

-- numbers
SELECT round(cost, 1), trunc(cost), cost * 2, cost / 3, mod(id, 7), abs(-id), sqrt(id), power(id, 2) FROM visits WHERE id < 9 ORDER BY id

-- dates
SELECT day, day + 1, extract(year FROM day), date_trunc('month', day), to_char(day, 'DD.MM.YYYY'), age(day, '2025-01-01')
 FROM visits WHERE id < 9 ORDER BY id

-- formatting
SELECT format('%s is %s', name, status), to_char(id, '000'), lpad(id::text, 5, '0') FROM patients ORDER BY id

-- regular expressions
SELECT name ~ '^N', regexp_replace(name, '\d', 'x', 'g'), regexp_match(name, '\d+'), name SIMILAR TO 'N%' FROM patients ORDER BY id

-- like
SELECT id FROM patients WHERE name LIKE 'Name %' AND name NOT ILIKE '%9' ORDER BY id

-- between and in
SELECT id FROM visits WHERE id BETWEEN 3 AND 6 OR id IN (9, 11) ORDER BY id

-- any and all
SELECT id FROM patients WHERE id = ANY (ARRAY[1, 3]) AND id <> ALL ('{9}') ORDER BY id

-- row comparison
SELECT id FROM patients WHERE (ward, id) > (1, 3) ORDER BY id

-- aggregates
SELECT sum(cost), avg(cost), min(day), max(day), stddev(cost), string_agg(id::text, ',' ORDER BY id), array_agg(id ORDER BY id)
 FROM visits WHERE id < 30

-- ordered set aggregates
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY cost), mode() WITHIN GROUP (ORDER BY patient) FROM visits

-- filter
SELECT count(*) FILTER (WHERE status = 'open'), count(*) FROM patients

-- grouping sets
SELECT ward, status, count(*) FROM patients GROUP BY GROUPING SETS ((ward), (status), ()) ORDER BY 1, 2

-- rollup
SELECT ward, status, count(*), GROUPING(ward, status) FROM patients GROUP BY ROLLUP (ward, status) ORDER BY 1, 2, 4

-- cube
SELECT ward, status, count(*) FROM patients GROUP BY CUBE (ward, status) ORDER BY 1, 2

-- lateral
SELECT w.id, l.n FROM wards w, LATERAL (SELECT count(*) AS n FROM patients p WHERE p.ward = w.id) l ORDER BY 1

-- generate_series
SELECT g, g * 2 FROM generate_series(1, 5) g

-- a calendar
SELECT d::date, count(v.id) FROM generate_series(timestamp '2026-01-01', '2026-01-05', '1 day') d LEFT JOIN visits v ON v.day = d
 GROUP BY d ORDER BY d

-- unnest
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) WITH ORDINALITY

-- rows from
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(5, 7))

-- values
VALUES (1, 'a'), (2, 'b') ORDER BY 1

-- table
TABLE wards

-- json of what is no secret
SELECT jsonb_build_object('id', id, 'name', name) FROM patients ORDER BY id

-- json aggregate
SELECT json_agg(x ORDER BY x.id) FROM (SELECT id, name FROM patients) x

-- row to json of a subquery
SELECT row_to_json(x) FROM (SELECT id, name FROM wards ORDER BY id) x

-- row to json of a table
SELECT row_to_json(w) FROM wards w ORDER BY id

-- a whole row
SELECT w FROM wards w ORDER BY id

-- json operators
SELECT attributes -> 'nested' -> 0, attributes ->> 'size', attributes @> '{"size": 1}' FROM shop.products ORDER BY id

-- json path
SELECT jsonb_path_query(attributes, '$.nested[*]') FROM shop.products ORDER BY id LIMIT 4

-- arrays
SELECT tags[1], array_length(tags, 1), 'all' = ANY (tags), tags || 'x'::text FROM shop.products ORDER BY id

-- unnest of a column
SELECT p.id, t FROM shop.products p, unnest(p.tags) t ORDER BY 1, 2

-- enums
SELECT state, count(*) FROM shop.orders GROUP BY state ORDER BY state

-- a generated column
SELECT id, total FROM shop.products ORDER BY id

-- a domain
SELECT id, discount + 1 FROM shop.products ORDER BY id

-- a view
SELECT * FROM shop.sales ORDER BY name

-- a materialised view
SELECT * FROM shop.monthly ORDER BY month

-- a view over unclassified columns
SELECT * FROM v_clean ORDER BY id

-- a view's other columns
SELECT id, name FROM v_plain ORDER BY id

-- a materialised view's other columns
SELECT id, name FROM m_plain ORDER BY id

-- a partitioned table
SELECT count(*), min(day) FROM shop.log

-- a partition
SELECT id, line FROM shop.log_2026 WHERE id < 4 ORDER BY id

-- a partition's other columns
SELECT id, day FROM events ORDER BY id

-- an inheritance parent's other columns
SELECT id, name FROM staff ORDER BY id

-- a child's other columns
SELECT id, title FROM doctors ORDER BY id

-- an SQL function
SELECT shop.price_of(3)

-- time zones
SELECT placed AT TIME ZONE 'Asia/Tokyo' FROM shop.orders ORDER BY id LIMIT 3

-- intervals
SELECT id, placed - timestamptz '2026-01-01 00:00+00' FROM shop.orders ORDER BY id LIMIT 3

-- for share of nothing classified | modes=simple
BEGIN
SELECT id FROM wards ORDER BY id
COMMIT

-- a transaction
BEGIN
SELECT count(*) FROM wards
SELECT count(*) FROM patients
COMMIT

-- read only
BEGIN READ ONLY
SELECT count(*) FROM wards
ROLLBACK

-- a savepoint
BEGIN
SAVEPOINT s
SELECT 1 / 0
ROLLBACK TO s
SELECT 1
COMMIT

-- isolation
BEGIN ISOLATION LEVEL REPEATABLE READ
SELECT count(*) FROM wards
COMMIT

-- a failed transaction
BEGIN
SELECT 1 / 0
SELECT 1
ROLLBACK

-- several statements of one message | modes=several
SELECT 1
SELECT name FROM wards ORDER BY id
SELECT count(*) FROM patients

-- an empty statement
;

-- a syntax error | modes=simple,extended
SELEC 1

-- a division by zero | modes=simple,extended,pipeline
SELECT 1 / 0

-- a wrong cast | modes=simple,extended,blind
SELECT 'abc'::int

-- a wrong parameter | modes=simple,extended
SELECT name FROM wards WHERE id = 'x'

-- random's type
SELECT pg_typeof(random()), random() < 2

-- a cursor
BEGIN
DECLARE k CURSOR FOR SELECT id, name FROM patients ORDER BY id
FETCH 2 FROM k
FETCH ALL FROM k
CLOSE k
COMMIT

-- a scrolling cursor
BEGIN
DECLARE k SCROLL CURSOR FOR SELECT id FROM wards ORDER BY id
FETCH LAST FROM k
FETCH FIRST FROM k
FETCH ABSOLUTE 2 FROM k
MOVE NEXT IN k
COMMIT

-- a held cursor
DECLARE k CURSOR WITH HOLD FOR SELECT id FROM wards ORDER BY id
FETCH 2 FROM k
CLOSE k

-- a prepared statement
PREPARE q(int) AS SELECT name FROM patients WHERE id = $1
EXECUTE q(1)
EXECUTE q(2)
DEALLOCATE q

-- prepared and all deallocated
PREPARE q AS SELECT count(*) FROM wards
EXECUTE q
DEALLOCATE ALL

-- discard
DISCARD ALL

-- copy of a table | modes=simple
COPY wards TO STDOUT

-- copy of columns | modes=simple
COPY patients (id, name, ward) TO STDOUT

-- copy as csv | modes=simple
COPY wards TO STDOUT (FORMAT csv, HEADER)

-- copy in binary | modes=simple
COPY wards TO STDOUT (FORMAT binary)

-- copy of a query | modes=simple
COPY (SELECT id, name FROM patients ORDER BY id) TO STDOUT

-- a view's plain column beside an expression over a classified one
SELECT id FROM v_upper ORDER BY id

-- a view's plain column beside a whole row
SELECT id FROM v_json ORDER BY id

-- a view's group beside aggregates of classified columns
SELECT ward FROM v_agg ORDER BY ward

-- a subquery's plain column beside what fails over a classified one
SELECT id FROM (SELECT id, 1 / (ascii(ssn) - 200) AS unused FROM patients) x ORDER BY id
