-- defaults | verdict=denied

-- CREATE TABLE AS
CREATE TABLE taken AS SELECT ssn FROM patients
SELECT * FROM taken
DROP TABLE taken

-- CREATE TEMP TABLE AS
CREATE TEMP TABLE taken AS SELECT ssn FROM patients
SELECT * FROM taken

-- SELECT INTO
SELECT ssn INTO taken2 FROM patients
SELECT * FROM taken2
DROP TABLE taken2

-- SELECT INTO TEMP
SELECT ssn AS plain INTO TEMP taken FROM patients
SELECT plain FROM taken

-- CREATE TABLE AS EXECUTE
PREPARE q AS SELECT ssn FROM patients
CREATE TEMP TABLE taken AS EXECUTE q
SELECT * FROM taken

-- CREATE MATERIALIZED VIEW
CREATE MATERIALIZED VIEW taken3 AS SELECT ssn FROM patients
SELECT * FROM taken3
DROP MATERIALIZED VIEW taken3

-- INSERT SELECT
BEGIN
INSERT INTO letters SELECT id + 100, ssn FROM patients
INSERT INTO scratch SELECT id, ssn FROM patients
SELECT word FROM scratch WHERE id < 7
ROLLBACK

-- INSERT SELECT into a temporary table
CREATE TEMP TABLE kept (x text)
INSERT INTO kept SELECT ssn FROM patients
SELECT x FROM kept

-- INSERT by a CTE
WITH w AS (INSERT INTO scratch SELECT 500, ssn FROM patients RETURNING word) SELECT * FROM w

-- UPDATE FROM
BEGIN
UPDATE scratch SET word = p.ssn FROM patients p WHERE p.id = scratch.id
SELECT word FROM scratch ORDER BY id
ROLLBACK

-- UPDATE by a subquery
BEGIN
UPDATE scratch SET word = (SELECT ssn FROM patients WHERE id = 1)
SELECT word FROM scratch LIMIT 1
ROLLBACK

-- UPDATE of another of its columns
BEGIN
UPDATE patients SET name = coalesce(ssn, 'x')
SELECT name FROM patients ORDER BY id
ROLLBACK

-- UPDATE of several
BEGIN
UPDATE patients SET (name, status) = (coalesce(ssn, 'x'), coalesce(email, 'y'))
SELECT name, status FROM patients ORDER BY id
ROLLBACK

-- INSERT RETURNING
BEGIN
INSERT INTO badges SELECT 50, ssn, 1 FROM patients WHERE id = 1 RETURNING ssn
ROLLBACK

-- UPDATE RETURNING
BEGIN
UPDATE patients SET ward = ward RETURNING ssn
ROLLBACK

-- UPDATE RETURNING a star
BEGIN
UPDATE patients SET ward = ward RETURNING *
ROLLBACK

-- UPDATE RETURNING OLD and NEW | min=18
BEGIN
UPDATE patients SET ward = ward RETURNING old.ssn, new.email
ROLLBACK

-- RETURNING WITH names | min=18
BEGIN
UPDATE patients SET ward = ward RETURNING WITH (OLD AS was) was.*
ROLLBACK

-- DELETE RETURNING
BEGIN
DELETE FROM badges RETURNING ssn
ROLLBACK

-- DELETE USING
BEGIN
DELETE FROM scratch USING patients p WHERE scratch.id = p.id AND p.flag
SELECT count(*) FROM scratch WHERE id < 2
ROLLBACK

-- the command tag counts
BEGIN
UPDATE scratch SET word = '' WHERE id = 1 AND (SELECT ssn FROM patients WHERE id = 1) LIKE '1%'
ROLLBACK

-- MERGE's condition | min=15
BEGIN
MERGE INTO scratch s USING patients p ON s.id = p.id WHEN MATCHED AND p.flag THEN DELETE
SELECT count(*) FROM scratch WHERE id < 2
ROLLBACK

-- MERGE's value | min=15
BEGIN
MERGE INTO scratch s USING patients p ON s.id = p.id WHEN MATCHED THEN UPDATE SET word = p.ssn
SELECT word FROM scratch ORDER BY id
ROLLBACK

-- MERGE RETURNING | min=17
BEGIN
MERGE INTO scratch s USING patients p ON s.id = p.id WHEN MATCHED THEN UPDATE SET id = s.id RETURNING p.ssn
ROLLBACK

-- ON CONFLICT probes a unique value
BEGIN
INSERT INTO patients (id, name, ward, status, ssn) SELECT 90, '', 1, '', 'guess' ON CONFLICT (ssn) DO NOTHING RETURNING id, (SELECT count(ssn) FROM patients)
ROLLBACK

-- a unique violation quotes it
BEGIN
INSERT INTO patients (id, name, ward, status, ssn) SELECT 90, '', 1, '', ssn FROM patients WHERE id = 1
ROLLBACK

-- EXCLUDED
BEGIN
INSERT INTO scratch SELECT 1, 'x' FROM patients WHERE ssn LIKE '1%'
SELECT count(*) FROM scratch
ROLLBACK

-- a foreign key that probes
BEGIN
INSERT INTO badges (id, ssn, floor) VALUES (70, (SELECT ssn || '' FROM patients WHERE id = 1), 1) RETURNING ssn
ROLLBACK

-- an exclusion that probes
BEGIN
INSERT INTO lockers SELECT 90, 1, code FROM lockers WHERE id = 1
ROLLBACK

-- an exclusion that probes, by an update of its own column
BEGIN
UPDATE lockers SET code = (SELECT l.code FROM lockers l WHERE l.id = 2) WHERE id = 1
ROLLBACK

-- a check that quotes the row
BEGIN
UPDATE patients SET name = NULL
ROLLBACK

-- a not-null violation quotes the row
BEGIN
INSERT INTO patients SELECT id, NULL, ward, status, ssn FROM patients
ROLLBACK

-- a type that is too short
BEGIN
UPDATE patients SET ward = ssn::int
ROLLBACK

-- a new check that tells
BEGIN
ALTER TABLE patients ADD CONSTRAINT probe CHECK (id <> 1 OR ssn LIKE '1%')
ROLLBACK

-- a new unique index that tells
CREATE UNIQUE INDEX probe ON visits (diagnosis)

-- an index over an expression that fails
CREATE INDEX probe ON patients ((ssn::int))

-- a change of type that quotes
ALTER TABLE letters ALTER body TYPE int USING body::int

-- a copy by LIKE INCLUDING
BEGIN
CREATE TABLE twin (LIKE patients INCLUDING ALL)
INSERT INTO twin SELECT * FROM patients
SELECT ssn FROM twin
ROLLBACK

-- a rename that hides
BEGIN
ALTER TABLE patients RENAME ssn TO plain
SELECT plain FROM patients
ROLLBACK

-- a table renamed
BEGIN
ALTER TABLE patients RENAME TO plain
SELECT ssn FROM plain
ROLLBACK

-- a table moved
BEGIN
ALTER TABLE badges SET SCHEMA shop
SELECT ssn FROM shop.badges
ROLLBACK

-- an inheritance added
BEGIN
CREATE TABLE above (id int, name text, secret text)
ALTER TABLE staff INHERIT above
SELECT secret FROM above
ROLLBACK

-- a partition detached
BEGIN
ALTER TABLE events DETACH PARTITION events_old
SELECT secret FROM events_old
ROLLBACK

-- a view replaced
BEGIN
CREATE OR REPLACE VIEW v_clean AS SELECT id, ssn AS name, ward FROM patients
SELECT name FROM v_clean
ROLLBACK

-- a default that reads
BEGIN
ALTER TABLE scratch ADD got text DEFAULT public.f_pg(1)
SELECT got FROM scratch LIMIT 1
ROLLBACK

-- a generated column added
BEGIN
ALTER TABLE patients ADD got text GENERATED ALWAYS AS (lower(ssn)) STORED
SELECT got FROM patients
ROLLBACK

-- a trigger that copies
BEGIN
CREATE FUNCTION pg_temp.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.ssn; RETURN NEW; END $$
CREATE TRIGGER t BEFORE UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION pg_temp.t()
UPDATE patients SET ward = ward WHERE ssn IS NOT NULL RETURNING name
ROLLBACK

-- a rule that copies
BEGIN
CREATE RULE r AS ON UPDATE TO patients DO ALSO INSERT INTO scratch VALUES (900, OLD.ssn)
UPDATE patients SET ward = ward
SELECT word FROM scratch WHERE id = 900
ROLLBACK

-- a policy that tells
BEGIN
CREATE POLICY p ON scratch USING (EXISTS (SELECT FROM patients WHERE id = 1 AND ssn LIKE '1%'))
ALTER TABLE scratch ENABLE ROW LEVEL SECURITY
SET LOCAL ROLE reader
SELECT count(*) FROM scratch
ROLLBACK

-- a grant and another role
BEGIN
SET LOCAL ROLE reader
SELECT ssn FROM patients
ROLLBACK

-- a comment made of it
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE scratch IS %L', (SELECT ssn FROM patients WHERE id = 1)); END $$
SELECT obj_description('scratch'::regclass)

-- a sequence made of it
DO $$ BEGIN EXECUTE format('CREATE SEQUENCE probe START %s', (SELECT account FROM patients WHERE id = 1)); END $$
SELECT last_value FROM probe
DROP SEQUENCE probe

-- REFRESH and read
REFRESH MATERIALIZED VIEW m_plain
SELECT ssn FROM m_plain

-- ANALYZE and read
ANALYZE patients
SELECT histogram_bounds FROM pg_stats WHERE tablename = 'patients' AND attname = 'ssn'

-- TRUNCATE's identity by LOCK
BEGIN
LOCK TABLE patients
SELECT ssn || '' FROM patients
ROLLBACK

-- COPY into a table by a file
COPY (SELECT ssn FROM patients) TO '/tmp/twokey-corpus-copied'
CREATE TEMP TABLE got (x text)
COPY got FROM '/tmp/twokey-corpus-copied'
SELECT * FROM got
COPY got TO PROGRAM 'cat > /dev/null; rm -f /tmp/twokey-corpus-copied'

-- a domain's new check tells
BEGIN
ALTER DOMAIN code ADD CHECK (VALUE < '7')
ROLLBACK

-- a domain's check made valid tells
BEGIN
ALTER DOMAIN code ADD CONSTRAINT below CHECK (VALUE < '7') NOT VALID
ALTER DOMAIN code VALIDATE CONSTRAINT below
ROLLBACK

-- a partition attached tells
BEGIN
CREATE TABLE bounds (LIKE badges) PARTITION BY RANGE (ssn)
DELETE FROM badges WHERE id = 0 OR id = 1
ALTER TABLE bounds ATTACH PARTITION badges FOR VALUES FROM ('0') TO ('7')
ROLLBACK

-- rows clustered by it
BEGIN
CLUSTER patients USING patients_ssn_key
SELECT id FROM patients
ROLLBACK

-- a default that is there
BEGIN
INSERT INTO stamped (id) VALUES (90) RETURNING word
ROLLBACK

-- a default that is there, read afterwards
BEGIN
INSERT INTO stamped DEFAULT VALUES
INSERT INTO stamped (id) VALUES (90)
SELECT word FROM stamped
ROLLBACK

-- a default by its word
BEGIN
INSERT INTO stamped VALUES (90, DEFAULT) RETURNING word
ROLLBACK

-- a default in an update
BEGIN
UPDATE stamped SET word = DEFAULT WHERE id = 1 RETURNING word
ROLLBACK

-- a default in an update of several
BEGIN
UPDATE stamped SET (id, word) = (1, DEFAULT) WHERE id = 1
SELECT word FROM stamped
ROLLBACK

-- a default in MERGE | min=15
BEGIN
MERGE INTO stamped s USING wards w ON s.id = w.id WHEN MATCHED THEN UPDATE SET word = DEFAULT
SELECT word FROM stamped
ROLLBACK
