-- defaults | verdict=denied

-- division by zero
SELECT 1 / (ascii(ssn) - 49) FROM patients WHERE id = 1

-- division by zero that shows nothing
SELECT count(1 / (ascii(ssn) - 49)) FROM patients WHERE id = 1

-- division in a condition that is always false
SELECT 1 FROM wards WHERE 1 / (SELECT ascii(ssn) - 49 FROM patients WHERE id = 1) IS NULL

-- a cast that quotes the value
SELECT ssn::int FROM patients

-- a cast of a numeric
SELECT (account::text || 'x')::bigint FROM patients

-- a date that quotes it
SELECT ssn::date FROM patients

-- a json that quotes it
SELECT ssn::json FROM patients

-- an enum by text
SELECT ssn::shop.state FROM patients

-- regclass quotes it
SELECT ssn::regclass FROM patients

-- xml quotes it
SELECT xmlparse(DOCUMENT ssn) FROM patients

-- an invalid pattern
SELECT 'x' ~ CASE WHEN ssn LIKE '1%' THEN '(' ELSE 'a' END FROM patients WHERE id = 1

-- overflow
SELECT ascii(ssn) * 40000000 FROM patients WHERE id = 1

-- to_number
SELECT to_date(ssn, 'YYYY-MM-DD') FROM patients

-- more than one row
SELECT (SELECT 1 FROM generate_series(1, ascii(ssn) - 48)) FROM patients WHERE id = 1

-- square root of a negative
SELECT sqrt(ascii(ssn) - 50) FROM patients WHERE id = 1

-- a factorial that is too large
SELECT power(10.0, (ascii(ssn) - 49) * 100000) > 1 FROM patients WHERE id = 1

-- array subscript out of order
SELECT array_fill(1, ARRAY[50 - ascii(ssn)]) FROM patients WHERE id = 1

-- chr of zero
SELECT chr(ascii(ssn) - 49) FROM patients WHERE id = 1

-- pg_sleep | time
SELECT pg_sleep(CASE WHEN ssn LIKE '1%' THEN 0 ELSE 0.3 END) FROM patients WHERE id = 1

-- pg_sleep_for | time
SELECT count(pg_sleep_for(CASE WHEN ssn LIKE '1%' THEN interval '0' ELSE interval '0.3 s' END)) FROM patients WHERE id = 1

-- time by work | time
SELECT count(*) FROM generate_series(1, (SELECT CASE WHEN ssn LIKE '1%' THEN 1 ELSE 1500000 END FROM patients WHERE id = 1))

-- time by a lazy condition | time
SELECT count(*) FROM patients WHERE id = 1 AND ssn NOT LIKE '1%' AND (SELECT count(*) FROM generate_series(1, 1500000)) > 0

-- an advisory lock shown in pg_locks
SELECT pg_advisory_lock(ascii(ssn)) FROM patients WHERE id = 1
SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()

-- an advisory lock tried
\2 SELECT pg_advisory_lock(57)
SELECT pg_try_advisory_lock(ascii(ssn)) FROM patients WHERE id = 1

-- a transaction's advisory lock
BEGIN
SELECT pg_advisory_xact_lock(account) FROM patients WHERE id = 1
SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
COMMIT

-- nextval
SELECT nextval('tickets') FROM patients, generate_series(1, ascii(ssn)) WHERE id = 1
SELECT last_value FROM tickets

-- setval
SELECT setval('wide', account) FROM patients WHERE id = 1
SELECT last_value FROM wide

-- nextval chosen by it
SELECT nextval(CASE WHEN flag THEN 'tickets' ELSE 'wide' END::regclass) FROM patients WHERE id = 1
SELECT currval('tickets')

-- set_config
SELECT set_config('my.word', ssn, false) FROM patients WHERE id = 1
SELECT current_setting('my.word')

-- set_config local
BEGIN
SELECT set_config('my.word', ssn, true) FROM patients WHERE id = 1
SHOW my.word
COMMIT

-- set_config of a known setting
SELECT set_config('application_name', ssn, false) FROM patients WHERE id = 1
SHOW application_name

-- set_config of what the protocol reports
SELECT set_config('application_name', (SELECT string_agg(ssn, '') FROM patients), false)

-- set_config that fails
SELECT set_config('work_mem', ssn, false) FROM patients WHERE id = 1

-- set_config of the seed
SELECT setseed(CASE WHEN flag THEN 0.5 ELSE 2 END) FROM patients WHERE id = 1

-- pg_notify
\2 LISTEN spy
SELECT pg_notify('spy', ssn) FROM patients WHERE id = 1
\2 SELECT 1

-- pg_notify on a channel of that name
SELECT pg_notify(CASE WHEN flag THEN '' ELSE 'x' END, '') FROM patients WHERE id = 1

-- a logical message
SELECT pg_logical_emit_message(false, 'spy', ssn) FROM patients WHERE id = 1

-- a large object
BEGIN
SELECT lo_from_bytea(777, ssn::bytea) FROM patients WHERE id = 1
SELECT lo_get(777)
ROLLBACK

-- a notice of a function
SELECT f_raise(ssn) FROM patients

-- a notice in a condition
SELECT id FROM patients WHERE f_leaky(ssn, 'x')

-- a notice by an operator
SELECT id FROM patients WHERE ssn <<<< 'x'

-- a notice behind a barrier
SELECT id FROM v_barrier WHERE f_leaky(contact, 'x')

-- a user's cast function | verdict=masked
SELECT (f_to_person(ssn)).ssn FROM patients

-- a function's identity
SELECT f_echo(ssn) FROM patients

-- a temporary file of a sort
SELECT id FROM patients ORDER BY repeat(ssn, 3)

-- a log of the server
SELECT pg_log_backend_memory_contexts(pg_backend_pid()) FROM patients WHERE ssn LIKE '1%'

-- a backend cancelled by it
SELECT pg_cancel_backend(pg_backend_pid()) FROM patients WHERE id = 1 AND ssn LIKE '1%'

-- a backend ended by it
SELECT pg_terminate_backend(pg_backend_pid()) FROM patients WHERE id = 1 AND ssn LIKE '1%'

-- a snapshot exported
SELECT CASE WHEN flag THEN pg_export_snapshot() END IS NULL FROM patients WHERE id = 1

-- a transaction id taken
BEGIN
SELECT CASE WHEN ssn LIKE '1%' THEN pg_current_xact_id() END IS NULL FROM patients WHERE id = 1
SELECT pg_current_xact_id_if_assigned() IS NULL
ROLLBACK

-- a statistic reset
SELECT pg_stat_reset_single_table_counters('scratch'::regclass) FROM patients WHERE id = 1 AND ssn LIKE '1%'

-- a txid by FOR UPDATE
BEGIN
SELECT 1 FROM patients WHERE id = 1 AND ssn LIKE '1%' FOR UPDATE
SELECT pg_current_xact_id_if_assigned() IS NULL
ROLLBACK

-- an error of a constant only evaluated then
SELECT CASE WHEN ssn LIKE '1%' THEN 1 / (id - 1) ELSE 0 END FROM patients WHERE id = 1

-- memory
SELECT repeat('x', (account % 7)::int) FROM patients

-- an error from a row's comparison
SELECT ROW(1, 'x', ssn::int, 'y')::person FROM patients

-- a sequence's name made of it
SELECT currval(ssn) FROM patients

-- a json path's error
SELECT jsonb_path_query('1', (CASE WHEN flag THEN 'strict' ELSE 'lax' END || ' $.a')::jsonpath) FROM patients WHERE id = 1

-- format with a wrong specifier
SELECT format('%' || ssn, 1) FROM patients WHERE id = 1

-- make_date
SELECT make_date(2000, ascii(ssn) - 40, 1) FROM patients WHERE id = 1

-- a pattern over its length
SELECT 'x' LIKE CASE WHEN flag THEN '\' ELSE 'x' END FROM patients WHERE id = 1

-- a subquery of several rows behind coalesce | verdict=denied
SELECT coalesce(ssn, (SELECT name FROM wards)) FROM patients WHERE id = 3

-- a subquery whose condition fails, behind coalesce | verdict=denied
SELECT coalesce(ssn, (SELECT 'x' FROM wards WHERE 1 / (id - 1) > 0 LIMIT 1)) FROM patients WHERE id = 3

-- a subquery of several rows behind AND | verdict=denied
SELECT flag AND (SELECT true FROM wards) FROM patients WHERE id = 1

-- EXISTS that fails behind AND | verdict=denied
SELECT flag AND EXISTS (SELECT 1 FROM wards WHERE 1 / (id - 1) > 0) FROM patients WHERE id = 1

-- EXISTS that takes long behind AND | verdict=denied time
SELECT flag AND EXISTS (SELECT 1 FROM generate_series(1, 2000000) OFFSET 1999999) FROM patients WHERE id = 1

-- IN that fails behind OR | verdict=denied
SELECT flag OR 1 IN (SELECT id FROM wards WHERE 1 / (id - 1) > 0) FROM patients WHERE id = 1

-- ARRAY of a subquery that fails, behind coalesce | verdict=denied
SELECT coalesce(tags, ARRAY(SELECT name FROM wards WHERE 1 / (id - 1) > 0)) FROM patients WHERE id = 3

-- a negative length fails unless the text is NULL | verdict=denied
SELECT substring(ssn, 1, -1) FROM patients WHERE id = 3

-- a subscript beyond an integer | verdict=denied
SELECT tags[account] FROM patients WHERE id = 3

-- a bound of a slice beyond an integer | verdict=denied
SELECT (ARRAY[1, 2])[salary:2] FROM patients WHERE id = 3

-- two collations leave none to compare by | verdict=denied
SELECT ssn = (left(x.c, 1) || left(x.d, 1)) FROM patients,
  (SELECT name COLLATE "C" AS c, name COLLATE "POSIX" AS d FROM wards) x WHERE patients.id = 3

-- the column under one collation, a catalog's name under another | verdict=denied
SELECT ssn = n.nspname FROM (SELECT id, ssn COLLATE "POSIX" AS ssn FROM patients) p, pg_namespace n WHERE id = 3

-- what has no collation to compute by, behind coalesce | verdict=denied
SELECT coalesce(ssn, lower(x.c || x.d)) FROM patients,
  (SELECT name COLLATE "C" AS c, name COLLATE "POSIX" AS d FROM wards) x WHERE patients.id = 3
