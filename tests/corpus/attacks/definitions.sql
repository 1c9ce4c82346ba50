-- a view | verdict=masked
SELECT * FROM v_plain

-- a view that renames | verdict=masked
SELECT what FROM v_renamed

-- a view over a view | verdict=masked
SELECT thing FROM v_over

-- a view that computes
SELECT word FROM v_upper

-- a barrier view | verdict=masked
SELECT contact FROM v_barrier

-- a view's union
SELECT word FROM v_union

-- a view's aggregate
SELECT * FROM v_agg ORDER BY ward

-- a view of rows as json
SELECT row FROM v_json

-- a whole row of a view
SELECT v FROM v_plain v

-- a materialised view
SELECT ssn FROM m_plain

-- a star of a materialised view
SELECT * FROM m_plain

-- a materialised view that computes
SELECT word, size FROM m_upper

-- a materialised view that counts
SELECT n FROM m_count ORDER BY n

-- a materialised view in a condition
SELECT id FROM m_plain WHERE ssn > '5' ORDER BY id

-- a materialised view's whole row
SELECT m FROM m_plain m

-- a materialised view by COPY | min=18
COPY m_plain TO STDOUT

-- a generated column
SELECT digest FROM digests

-- a generated column as it is
SELECT shout FROM digests

-- generated columns by a star
SELECT * FROM digests

-- a condition on a generated column
SELECT id FROM digests WHERE shout > '5' ORDER BY id

-- a partitioned table
SELECT secret FROM events

-- a partition
SELECT secret FROM events_old

-- a partition's star
SELECT * FROM events_new

-- a partition by COPY
COPY events_old TO STDOUT

-- an inheritance parent
SELECT secret FROM staff

-- only the parent
SELECT secret FROM ONLY staff

-- a child
SELECT secret FROM doctors

-- a child's own
SELECT own FROM doctors

-- a child's star
SELECT * FROM doctors

-- a parent's star
SELECT * FROM staff*

-- an SQL function
SELECT f_sql(1)

-- an SQL function over rows
SELECT f_sql(id) FROM patients

-- an SQL function that returns rows
SELECT ssn FROM f_rows()

-- an SQL function's star
SELECT * FROM f_rows()

-- RETURNS TABLE
SELECT b FROM f_table()

-- OUT parameters
SELECT * FROM f_out()

-- a field of a function's row
SELECT (f_out()).b

-- a star of a function's row
SELECT (f_rows()).*

-- a security definer
SELECT * FROM f_definer()

-- nested functions
SELECT f_nested(1)

-- a set function in the list
SELECT f_definer()

-- a plpgsql function
SELECT f_pg(1)

-- a plpgsql function in a condition
SELECT id FROM wards WHERE f_pg(1) LIKE '1%' ORDER BY 1

-- dynamic SQL in a function
SELECT * FROM f_dynamic('SELECT ssn FROM patients')

-- a refcursor
BEGIN
SELECT f_cursor()
FETCH ALL FROM opened
COMMIT

-- a procedure
CALL f_call('')

-- a procedure in SQL
CALL f_call_sql()
SHOW my.word

-- DO
DO $$ BEGIN RAISE NOTICE '%', (SELECT string_agg(ssn, ',') FROM public.patients); END $$

-- DO with an error
DO $$ BEGIN RAISE EXCEPTION '%', (SELECT ssn FROM public.patients LIMIT 1); END $$

-- DO with an assertion
DO $$ BEGIN ASSERT (SELECT ssn NOT LIKE '1%' FROM public.patients WHERE id = 1); END $$

-- a view of one's own
CREATE VIEW mine AS SELECT ssn FROM patients
SELECT * FROM mine
DROP VIEW mine

-- a temporary view
CREATE TEMP VIEW mine AS SELECT ssn FROM patients
SELECT * FROM mine

-- a function of one's own
CREATE FUNCTION pg_temp.mine() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM public.patients'
SELECT * FROM pg_temp.mine()

-- a rule of one's own
CREATE TEMP TABLE ruled (x text)
CREATE RULE "_RETURN" AS ON SELECT TO ruled DO INSTEAD SELECT ssn AS x FROM patients
SELECT pg_get_viewdef('v_plain'), (SELECT string_agg(ssn, '') FROM patients)
