-- defaults | modes=simple,extended

-- SELECT * FROM nosuch
SELECT * FROM nosuch

-- SELECT nosuch FROM wards
SELECT nosuch FROM wards

-- SELECT nosuch(1)
SELECT nosuch(1)

-- SELECT nosuch.id FROM wards
SELECT nosuch.id FROM wards

-- SELECT w.nosuch FROM wards w
SELECT w.nosuch FROM wards w

-- SELECT * FROM nosuch.wards
SELECT * FROM nosuch.wards

-- SELECT id FROM wards JOIN shop.orders USING (nosuch)
SELECT id FROM wards JOIN shop.orders USING (nosuch)

-- SELECT id FROM wards, shop.orders
SELECT id FROM wards, shop.orders

-- SELECT 1::nosuch
SELECT 1::nosuch

-- SELECT 'a'::text + 1
SELECT 'a'::text + 1

-- SELECT name + id FROM wards
SELECT name + id FROM wards

-- SELECT CASE WHEN id THEN 1 END FROM wards
SELECT CASE WHEN id THEN 1 END FROM wards

-- SELECT id FROM wards WHERE name
SELECT id FROM wards WHERE name

-- SELECT count(*) FROM wards GROUP BY nosuch
SELECT count(*) FROM wards GROUP BY nosuch

-- SELECT * FROM wards ORDER BY nosuch
SELECT * FROM wards ORDER BY nosuch

-- SELECT * FROM wards ORDER BY 9
SELECT * FROM wards ORDER BY 9

-- SELECT ssn FROM wards
SELECT ssn FROM wards

-- SELECT p.ssn, nosuch FROM patients p
SELECT p.ssn, nosuch FROM patients p

-- SELECT lower(id) FROM wards
SELECT lower(id) FROM wards

-- SELECT abs('x') FROM wards
SELECT abs('x') FROM wards

-- SELECT sum(name) FROM wards
SELECT sum(name) FROM wards

-- SELECT * FROM wards UNION SELECT 1
SELECT * FROM wards UNION SELECT 1

-- SELECT '1'::regclass, 'nosuch'::regclass
SELECT '1'::regclass, 'nosuch'::regclass

-- INSERT INTO nosuch VALUES (1)
INSERT INTO nosuch VALUES (1)

-- INSERT INTO wards (nosuch) VALUES (1)
INSERT INTO wards (nosuch) VALUES (1)

-- UPDATE wards SET nosuch = 1
UPDATE wards SET nosuch = 1

-- DELETE FROM wards WHERE nosuch = 1
DELETE FROM wards WHERE nosuch = 1

-- EXPLAIN SELECT * FROM nosuch
EXPLAIN SELECT * FROM nosuch

-- PREPARE p AS SELECT * FROM nosuch | modes=simple
PREPARE p AS SELECT * FROM nosuch

-- DECLARE c CURSOR FOR SELECT * FROM nosuch
DECLARE c CURSOR FOR SELECT * FROM nosuch

-- COPY wards (nosuch) TO STDOUT
COPY wards (nosuch) TO STDOUT

-- COPY (SELECT * FROM nosuch) TO STDOUT | modes=simple
COPY (SELECT * FROM nosuch) TO STDOUT

-- SELECT nextval('nosuch')
SELECT nextval('nosuch')

-- SELECT * FROM nosuch()
SELECT * FROM nosuch()

-- SELECT wards.nosuch() FROM wards
SELECT wards.nosuch() FROM wards

-- SELECT * FROM wards w, LATERAL (SELECT w.nosuch) x
SELECT * FROM wards w, LATERAL (SELECT w.nosuch) x

-- WITH a AS (SELECT 1) SELECT * FROM b
WITH a AS (SELECT 1) SELECT * FROM b

-- SELECT (w).nosuch FROM wards w
SELECT (w).nosuch FROM wards w

-- SELECT name COLLATE nosuch FROM wards
SELECT name COLLATE nosuch FROM wards

-- SELECT id FROM wards WHERE EXISTS (SELECT 1 FROM nosuch WHERE x = 1)
SELECT id FROM wards WHERE EXISTS (SELECT 1 FROM nosuch WHERE x = 1)

-- TABLE nosuch
TABLE nosuch

-- SELECT $1
SELECT $1

-- SELECT 1 FROM wards WHERE id = $1
SELECT 1 FROM wards WHERE id = $1

-- SELECT * FROM pg_catalog.nosuch
SELECT * FROM pg_catalog.nosuch

-- SELECT relnosuch FROM pg_class
SELECT relnosuch FROM pg_class

-- SELECT *
SELECT *

-- SELECT nosuch.* FROM wards
SELECT nosuch.* FROM wards

-- SELECT * FROM "Wards"
SELECT * FROM "Wards"

-- SELECT 1 FROM tools.nosuch
SELECT 1 FROM tools.nosuch

-- in a transaction | modes=simple
BEGIN
SELECT * FROM nosuch
SELECT 1
ROLLBACK
SELECT 1

-- behind a savepoint | modes=simple
BEGIN
SAVEPOINT a
SELECT nosuch FROM wards
ROLLBACK TO a
SELECT id FROM wards
COMMIT

-- where letters take two bytes
SELECT 'äöü', nosuch FROM wards

-- behind a comment, with a line's end
SELECT /* nosuch */ id,
  nosuch FROM wards;

-- a cursor over nothing | modes=simple
BEGIN
DECLARE k CURSOR FOR SELECT * FROM nosuch
FETCH ALL FROM k
ROLLBACK

-- what can't be described in a failed transaction | modes=simple
BEGIN
SELECT nosuch
FETCH 1 FROM nosuch
EXECUTE nosuch
SELECT * FROM pg_stat_activity
COMMIT
