-- defaults | verdict=denied

-- pg_stats | free
SELECT attname, most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname = 'public'

-- pg_statistic | free
SELECT stavalues1::text, stavalues2::text FROM pg_statistic WHERE starelid = 'patients'::regclass

-- pg_stats_ext | free
SELECT most_common_vals FROM pg_stats_ext

-- pg_statistic_ext_data | free
SELECT m.* FROM pg_statistic_ext_data d, pg_mcv_list_items(d.stxdmcv) m

-- pg_stats_ext_exprs | free
SELECT * FROM pg_stats_ext UNION ALL SELECT * FROM pg_stats_ext

-- pg_stats through a CTE | free
WITH s AS (TABLE pg_stats) SELECT histogram_bounds FROM s WHERE tablename = 'patients'

-- pg_stats in a subquery | free
SELECT (SELECT histogram_bounds::text FROM pg_stats WHERE schemaname = 'public' AND tablename = 'patients' AND attname = 'ssn')

-- pg_stats by COPY | free modes=simple
COPY (SELECT histogram_bounds FROM pg_stats) TO STDOUT

-- pg_stats by functional notation | free
SELECT histogram_bounds(s) FROM pg_stats s WHERE tablename = 'patients'

-- n_distinct
SELECT n_distinct, null_frac FROM pg_stats WHERE schemaname = 'public' AND tablename = 'visits' ORDER BY attname

-- pg_stat_activity
SELECT query FROM pg_stat_activity

-- pg_stat_activity's function
SELECT query FROM pg_stat_get_activity(NULL)

-- one backend's activity
SELECT pg_stat_get_backend_activity(i) FROM pg_stat_get_backend_idset() i

-- pg_stat_statements | ext=pg_stat_statements
SELECT id /* counted */ FROM visits WHERE severity < 12
SELECT rows FROM tools.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE query LIKE '%counted */%' AND datname = current_database()

-- the function behind pg_stat_statements | ext=pg_stat_statements
SELECT id /* called */ FROM visits WHERE severity < 12
SELECT rows FROM tools.pg_stat_statements(true) s JOIN pg_database d ON d.oid = s.dbid WHERE query LIKE '%called */%' AND datname = current_database()

-- pg_prepared_statements
PREPARE seen AS SELECT id FROM patients WHERE ssn = 'x'
SELECT statement, (SELECT string_agg(ssn, '') FROM patients) FROM pg_prepared_statements

-- pg_cursors
BEGIN
DECLARE k CURSOR FOR SELECT ssn FROM patients
SELECT statement, (SELECT max(ssn) FROM patients) FROM pg_cursors
COMMIT

-- pg_largeobject | free
SELECT data FROM pg_largeobject

-- lo_get | free
SELECT lo_get(424242)

-- lo_get of a part | free
SELECT lo_get(424242, 0, 12)

-- loread | free
BEGIN
SELECT loread(lo_open(424242, 262144), 100)
ROLLBACK

-- lo_export
SELECT lo_export(424242, '/tmp/twokey-corpus-lo')
SELECT pg_read_file('/tmp/twokey-corpus-lo')
COPY scratch TO PROGRAM 'cat > /dev/null; rm -f /tmp/twokey-corpus-lo'

-- lo_import
SELECT lo_import('/etc/hostname') > 0, (SELECT max(ssn) FROM patients)

-- pg_read_file of the table
SELECT pg_read_binary_file(pg_relation_filepath('letters'))

-- pg_read_file through a cast
SELECT encode(pg_read_binary_file(pg_relation_filepath('letters')), 'escape')

-- pg_read_file of the log
SELECT length(pg_read_file('PG_VERSION')), (SELECT max(ssn) FROM patients)

-- pg_ls_dir
SELECT count(*) > 0, (SELECT max(ssn) FROM patients) FROM pg_ls_dir('base')

-- COPY TO a file
COPY patients TO '/tmp/twokey-corpus-file'
SELECT pg_read_file('/tmp/twokey-corpus-file')
COPY scratch TO PROGRAM 'cat > /dev/null; rm -f /tmp/twokey-corpus-file'

-- COPY TO PROGRAM
COPY (SELECT ssn FROM patients) TO PROGRAM 'cat > /tmp/twokey-corpus-program'
SELECT pg_read_file('/tmp/twokey-corpus-program')
COPY scratch TO PROGRAM 'cat > /dev/null; rm -f /tmp/twokey-corpus-program'

-- COPY FROM PROGRAM
CREATE TEMP TABLE got (x text)
COPY got FROM PROGRAM 'cat base/*/*' (ENCODING 'LATIN1', DELIMITER E'\x01')
SELECT count(*), (SELECT string_agg(ssn, '') FROM patients) FROM got

-- file_fdw | ext=file_fdw
BEGIN
COPY patients (ssn) TO '/tmp/twokey-corpus-fdw'
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw
CREATE FOREIGN TABLE f (x text) SERVER files OPTIONS (filename '/tmp/twokey-corpus-fdw')
SELECT * FROM f
COPY scratch TO PROGRAM 'cat > /dev/null; rm -f /tmp/twokey-corpus-fdw'
ROLLBACK

-- dblink | ext=dblink
SELECT x FROM tools.dblink('host=127.0.0.1 port=' || current_setting('port') || ' user=wide password={password} dbname=' || current_database(),
 'SELECT ssn FROM patients') AS t(x text)

-- dblink to itself in a condition | ext=dblink
SELECT id FROM patients WHERE tools.dblink_get_connections() IS NULL AND ssn LIKE '1%'

-- crosstab | ext=tablefunc
SELECT * FROM tools.crosstab('SELECT 1, 1, ssn FROM patients WHERE id = 1') AS t(a int, b text)

-- connectby | ext=tablefunc
SELECT * FROM tools.connectby('patients', 'ssn', 'ssn', '1', 1) AS t(a text, b text, c int) UNION ALL SELECT max(ssn), '', 1 FROM patients

-- ts_stat
SELECT * FROM ts_stat('SELECT to_tsvector(''simple'', ssn) FROM patients') ORDER BY word

-- ts_rewrite
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, plainto_tsquery(''simple'', ssn) FROM patients WHERE id = 1')

-- a page | ext=pageinspect
SELECT encode(tools.get_raw_page('letters', 0), 'escape')

-- items of a page | ext=pageinspect
SELECT t_data FROM tools.heap_page_items(tools.get_raw_page('letters', 0))

-- attributes of a page | ext=pageinspect min=18
SELECT t_attrs FROM tools.heap_page_item_attrs(tools.get_raw_page('badges', 0), 'badges')

-- items of an index | ext=pageinspect
SELECT data FROM tools.bt_page_items('patients_ssn_key', 1)

-- tuple_data_split | ext=pageinspect
SELECT tools.tuple_data_split('badges'::regclass, t_data, t_infomask, t_infomask2, t_bits) FROM tools.heap_page_items(tools.get_raw_page('badges', 0))

-- amcheck reports | ext=amcheck
SELECT tools.bt_index_check('patients_ssn_key'), (SELECT max(ssn) FROM patients)

-- verify_heapam | ext=amcheck
SELECT count(*), (SELECT max(ssn) FROM patients) FROM tools.verify_heapam('patients')

-- pgstattuple | ext=pgstattuple
SELECT tuple_len FROM tools.pgstattuple('patients')

-- pgrowlocks | ext=pgrowlocks
SELECT count(*), (SELECT max(ssn) FROM patients) FROM tools.pgrowlocks('patients')

-- the write-ahead log | ext=pg_walinspect min=16 free
SELECT block_data FROM tools.pg_get_wal_block_info((pg_current_wal_lsn() - 6000000)::pg_lsn, pg_current_wal_lsn())

-- currtid2
SELECT currtid2('patients', '(0,1)'), (SELECT max(ssn) FROM patients)

-- by ctid | verdict=masked
SELECT ssn || '' FROM patients WHERE ctid < '(1,0)'

-- the index's definition
SELECT pg_get_indexdef('patients_upper'::regclass), (SELECT max(ssn) FROM patients)

-- pg_get_publication_tables
SELECT count(*), (SELECT max(ssn) FROM patients) FROM pg_publication_tables

-- pg_get_expr
SELECT pg_get_expr(adbin, adrelid), (SELECT max(ssn) FROM patients) FROM pg_attrdef LIMIT 1

-- row comparison function
SELECT record_image_eq(a, b) FROM patients a, patients b WHERE a.id = 1 AND b.id = 1 AND a.ssn LIKE '1%'

-- binary image of a record
SELECT record_send(p) FROM patients p

-- output function called
SELECT textout(ssn) FROM patients

-- send function called
SELECT textsend(ssn) FROM patients

-- numeric_send
SELECT numeric_send(salary), int8send(account), date_send(born) FROM patients

-- input function called
SELECT textin(textout(ssn)) FROM patients

-- an operator's function called | verdict=masked
SELECT textcat(ssn, '') FROM patients

-- comparison function called | verdict=masked
SELECT bttextcmp(ssn, '5') FROM patients

-- hash function called
SELECT hashtextextended(ssn, 1) FROM patients

-- support function | verdict=masked
SELECT text_larger(ssn, '') FROM patients

-- OPERATOR spelling | verdict=masked
SELECT ssn OPERATOR(pg_catalog.||) '' FROM patients

-- an index support function
SELECT btrecordcmp(ROW(ssn), ROW('5'::text)) FROM patients

-- array functions
SELECT array_append(tags, 'x'), array_position(tags, tags[1]), cardinality(tags) FROM patients

-- pg_visible_in_snapshot
SELECT pg_visible_in_snapshot(account::text::xid8, pg_current_snapshot()) IS NULL FROM patients

-- information_schema with it
SELECT column_name, (SELECT max(ssn) FROM patients) FROM information_schema.columns WHERE table_name = 'wards'

-- pg_sequences
SELECT setval('wide', account) FROM patients WHERE id = 2
SELECT last_value FROM pg_sequences WHERE sequencename = 'wide'

-- a prewarm | ext=pg_prewarm
SELECT tools.pg_prewarm('patients') FROM patients WHERE ssn LIKE '1%'

-- ALTER SYSTEM
SELECT name, (SELECT max(ssn) FROM patients) FROM pg_file_settings LIMIT 1

-- pg_hba_file_rules
SELECT count(*), (SELECT max(ssn) FROM patients) FROM pg_hba_file_rules

-- pg_authid
SELECT rolname, (SELECT max(ssn) FROM patients) FROM pg_authid WHERE rolname = 'wide'

-- current_query
SELECT current_query(), ssn || '' FROM patients

-- set_config by a cte
WITH c AS (SELECT set_config('my.word', ssn, false) AS w FROM patients WHERE id = 1) SELECT 1 FROM c
SHOW my.word

-- pg_input_error_info | min=16
SELECT * FROM patients p, pg_input_error_info(p.ssn, 'int')

-- pg_input_is_valid | min=16
SELECT pg_input_is_valid(left(ssn, 1), 'int'), pg_input_is_valid(ssn, 'bool'), ssn > '5' FROM patients

-- pg_typeof
SELECT pg_typeof(CASE WHEN flag THEN 1 END), flag::int FROM patients

-- has_table_privilege
SELECT has_table_privilege(ssn, 'patients', 'select') FROM patients

-- to_regclass
SELECT to_regclass(CASE WHEN flag THEN 'patients' ELSE 'nothing' END) FROM patients
