-- EXPLAIN ANALYZE of a function
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT * FROM patients, generate_series(1, ascii(ssn)) WHERE id = 1

-- EXPLAIN shows folded constants
EXPLAIN (VERBOSE) SELECT * FROM wards WHERE name = public.f_constant(1)

-- EXPLAIN of an immutable function of the data
EXPLAIN (ANALYZE, VERBOSE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT count(*) FROM visits WHERE severity > 11

-- EXPLAIN in JSON
EXPLAIN (ANALYZE, FORMAT json, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT DISTINCT diagnosis FROM visits

-- EXPLAIN's memory of a sort
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT id FROM patients ORDER BY repeat(ssn, 3000)

-- EXPLAIN SERIALIZE | min=17
EXPLAIN (ANALYZE, SERIALIZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT severity FROM visits WHERE severity < 12

-- EXPLAIN of an EXECUTE
PREPARE x(text) AS SELECT id FROM visits WHERE diagnosis > $1
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE x('5')

-- EXPLAIN of a CREATE TABLE AS
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) CREATE TEMP TABLE e AS SELECT severity FROM visits WHERE severity < 12

-- EXPLAIN of a cursor
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) DECLARE z CURSOR FOR SELECT id FROM visits WHERE severity < 12

-- the row count of a MOVE
BEGIN
DECLARE k SCROLL CURSOR FOR SELECT id FROM visits WHERE severity < 12
MOVE ALL FROM k
COMMIT

-- the tag of a COPY
COPY (SELECT 1 FROM visits WHERE severity < 12) TO STDOUT

-- the tag of a SELECT INTO
SELECT id INTO TEMP counted FROM visits WHERE severity < 12

-- the tag of a CREATE TABLE AS
CREATE TEMP TABLE counted2 AS SELECT id FROM visits WHERE severity < 12

-- the tag of an UPDATE
BEGIN
UPDATE scratch SET word = word WHERE EXISTS (SELECT FROM patients WHERE id = 1 AND ssn LIKE '1%')
ROLLBACK

-- the tag of a DELETE
BEGIN
DELETE FROM visits WHERE severity < 12
ROLLBACK

-- a GUC as a variable
SET my.word = 'x'
SELECT set_config('my.word', (SELECT ssn FROM patients WHERE id = 1), false)
SHOW my.word

-- SHOW ALL after set_config
SELECT set_config('search_path', (SELECT '"' || ssn || '"' FROM patients WHERE id = 1), false)
SHOW search_path

-- a role named so
SELECT set_config('role', ssn, false) FROM patients WHERE id = 1

-- a GUC that is refused with its value
SELECT set_config('TimeZone', ssn, false) FROM patients WHERE id = 1

-- an error within a savepoint
BEGIN
SAVEPOINT s
SELECT 1 / (ascii(ssn) - 49) FROM patients WHERE id = 1
ROLLBACK TO s
SELECT 1
COMMIT

-- an error at the transaction's end
BEGIN
SET CONSTRAINTS ALL DEFERRED
SELECT CASE WHEN ssn LIKE '1%' THEN 1 / (id - 1) END FROM patients WHERE id = 1
COMMIT

-- a statement's SQLSTATE
SELECT CASE WHEN ssn LIKE '1%' THEN left(name, 1)::int ELSE 1 / (id - id) END FROM patients WHERE id = 1

-- an error's position
SELECT ssn::numeric(3, 1) FROM patients

-- an error with detail
SELECT jsonb_populate_record(NULL::person, jsonb_build_object('id', ssn)) FROM patients

-- an error's context
SELECT f_pg(1 / (ascii(ssn) - 49)) FROM patients

-- a notice by truncation
SELECT 1 AS x FROM patients WHERE ssn::name = 'x' OR ssn LIKE '1%'

-- NOTIFY of a DO
\2 LISTEN spy
DO $$ BEGIN PERFORM pg_notify('spy', (SELECT ssn FROM patients WHERE id = 1)); END $$
\2 SELECT 1

-- FunctionCall of query_to_xml
\call query_to_xml(text,boolean,boolean,text)	SELECT ssn FROM patients	t	f	x

-- FunctionCall of table_to_xml
\call table_to_xml(regclass,boolean,boolean,text)	patients	t	f	x

-- FunctionCall of an SQL function
\call f_sql(integer)	1

-- FunctionCall of a plpgsql function
\call f_pg(integer)	1

-- FunctionCall of lo_get | free
\call lo_get(oid)	424242

-- FunctionCall of pg_relation_filepath | free
\call pg_relation_filepath(regclass)	letters
SELECT pg_read_binary_file(pg_relation_filepath('letters'))

-- FunctionCall of current_setting
SELECT set_config('my.word', ssn, false) FROM patients WHERE id = 1
\call current_setting(text)	my.word

-- FunctionCall of cursor_to_xml
BEGIN
DECLARE k CURSOR FOR SELECT ssn FROM patients
\call cursor_to_xml(refcursor,integer,boolean,boolean,text)	k	10	t	f	x
COMMIT

-- a second session's lock
\2 BEGIN
\2 SELECT id FROM patients WHERE ssn LIKE '1%' FOR UPDATE
SELECT id FROM patients WHERE id = 1 FOR UPDATE SKIP LOCKED
\2 ROLLBACK

-- a second session's advisory locks
\2 SELECT pg_advisory_lock(ascii(ssn)) FROM patients WHERE id = 1
SELECT objid FROM pg_locks WHERE locktype = 'advisory' ORDER BY 1

-- a second session's statement
\2 SELECT 1 AS wanted, ssn || '' FROM patients
SELECT query FROM pg_stat_activity WHERE query LIKE '%wanted%'

-- a held cursor of a condition
DECLARE k CURSOR WITH HOLD FOR SELECT id FROM visits WHERE severity < 12
FETCH ALL FROM k
CLOSE k

-- prepared and executed with a guess
PREPARE guess(text) AS SELECT count(*) FROM patients WHERE ssn LIKE $1
EXECUTE guess('1%')

-- prepared as a plain select, ordered later
PREPARE plain AS SELECT id FROM patients ORDER BY ssn
EXECUTE plain

-- several statements of one message | modes=several
SELECT 1
SELECT ssn || '' FROM patients
SELECT 2

-- several statements, the last is plain | modes=several
SELECT set_config('my.word', ssn, false) FROM patients WHERE id = 1
SHOW my.word

-- a search path of one's own
SET search_path = shop, public
SELECT ssn || '' FROM patients

-- a temporary table that shadows
CREATE TEMP TABLE shade AS SELECT * FROM public.patients
SELECT ssn FROM shade

-- a temporary table filled later
CREATE TEMP TABLE later (a text)
INSERT INTO later SELECT diagnosis FROM visits
SELECT a FROM later

-- an error that quotes a temporary copy
CREATE TEMP TABLE once (a text UNIQUE)
INSERT INTO once SELECT diagnosis FROM visits
SELECT 1

-- LISTEN on a channel named so
DO $$ BEGIN EXECUTE format('LISTEN %I', (SELECT ssn FROM patients WHERE id = 1)); END $$
SELECT pg_listening_channels()

-- a savepoint named so
DO $$ BEGIN EXECUTE format('SET my.word = %L', (SELECT ssn FROM patients WHERE id = 1)); END $$
SHOW my.word

-- a role created by it
DO $$ BEGIN EXECUTE format('COMMENT ON SCHEMA shop IS %L', (SELECT ssn FROM patients WHERE id = 1)); END $$
SELECT obj_description('shop'::regnamespace)
