-- defaults | verdict=denied void=says-nothing-classified-by-itself modes=simple,extended

-- pg_prepared_statements
SELECT statement FROM pg_prepared_statements

-- pg_cursors
SELECT statement FROM pg_cursors

-- lo_import
SELECT lo_import('/nowhere')

-- lo_from_bytea
SELECT lo_from_bytea(0, 'x')

-- lo_put
SELECT lo_put(1, 0, 'x')

-- lo_unlink
SELECT lo_unlink(1)

-- pg_read_file
SELECT pg_read_file('PG_VERSION')

-- pg_read_binary_file
SELECT pg_read_binary_file('PG_VERSION')

-- pg_stat_file
SELECT size FROM pg_stat_file('PG_VERSION')

-- pg_ls_dir
SELECT count(*) FROM pg_ls_dir('base')

-- pg_ls_waldir
SELECT count(*) FROM pg_ls_waldir()

-- pg_ls_logdir
SELECT count(*) FROM pg_ls_logdir()

-- pg_ls_tmpdir
SELECT count(*) FROM pg_ls_tmpdir()

-- pg_current_logfile
SELECT pg_current_logfile()

-- COPY FROM PROGRAM
COPY scratch FROM PROGRAM 'true'

-- COPY TO PROGRAM
COPY scratch TO PROGRAM 'true'

-- COPY to a file
COPY scratch TO '/nowhere/twokey'

-- dblink_get_connections | ext=dblink
SELECT tools.dblink_get_connections()

-- dblink | ext=dblink
SELECT tools.dblink_error_message('x')

-- crosstab | ext=tablefunc
SELECT * FROM tools.crosstab('SELECT 1, 1, 1') AS t(a int, b int)

-- connectby | ext=tablefunc
SELECT * FROM tools.connectby('wards', 'id', 'beds', '1', 1) AS t(a int, b int, c int)

-- query_to_xml
SELECT query_to_xml('SELECT 1', true, true, '')

-- table_to_xml
SELECT table_to_xml('wards', true, true, '')

-- schema_to_xml
SELECT schema_to_xml('other', true, true, '')

-- cursor_to_xml
SELECT cursor_to_xml('k', 1, true, true, '')

-- ts_stat
SELECT * FROM ts_stat('SELECT ''a''::tsvector')

-- ts_rewrite
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')

-- a page | ext=pageinspect
SELECT length(tools.get_raw_page('wards', 0))

-- amcheck's index check | ext=amcheck
SELECT tools.bt_index_check('patients_ssn_key')

-- amcheck's parent check | ext=amcheck
SELECT tools.bt_index_parent_check('patients_ssn_key', true)

-- verify_heapam | ext=amcheck
SELECT count(*) FROM tools.verify_heapam('patients')

-- pgstattuple | ext=pgstattuple
SELECT tuple_len FROM tools.pgstattuple('wards')

-- pgstatindex | ext=pgstattuple
SELECT index_size FROM tools.pgstatindex('patients_ssn_key')

-- pgrowlocks | ext=pgrowlocks
SELECT count(*) FROM tools.pgrowlocks('patients')

-- pg_visibility | ext=pg_visibility
SELECT count(*) FROM tools.pg_visibility('patients')

-- pg_freespace | ext=pg_freespacemap
SELECT count(*) FROM tools.pg_freespace('patients')

-- pg_prewarm | ext=pg_prewarm
SELECT tools.pg_prewarm('patients')

-- the write-ahead log | ext=pg_walinspect min=15
SELECT count(*) FROM tools.pg_get_wal_stats('0/1', '0/2')

-- currtid2
SELECT currtid2('patients', '(0,1)')

-- pg_file_settings
SELECT name FROM pg_file_settings LIMIT 1

-- pg_hba_file_rules
SELECT count(*) FROM pg_hba_file_rules

-- pg_authid's secrets
SELECT rolname, rolpassword FROM pg_authid

-- pg_shadow's secrets
SELECT passwd FROM pg_shadow

-- pg_user_mappings' secrets
SELECT umoptions FROM pg_user_mappings

-- pg_stat_activity
SELECT query FROM pg_stat_activity

-- one backend's activity
SELECT pg_stat_get_backend_activity(1)

-- pg_cancel_backend
SELECT pg_cancel_backend(0)

-- pg_terminate_backend
SELECT pg_terminate_backend(0)

-- pg_reload_conf
SELECT pg_reload_conf()

-- pg_logical_emit_message
SELECT pg_logical_emit_message(false, 'a', 'b')

-- a replication slot
SELECT pg_create_logical_replication_slot('x', 'test_decoding')

-- what a slot decoded
SELECT data FROM pg_logical_slot_peek_changes('x', NULL, NULL)

-- pg_export_snapshot
SELECT pg_export_snapshot()

-- pg_sleep
SELECT pg_sleep(0)

-- pg_advisory_lock
SELECT pg_advisory_lock(1)

-- pg_notify
SELECT pg_notify('a', 'b')

-- nextval
SELECT nextval('tickets')

-- pg_stat_reset
SELECT pg_stat_reset()

-- pg_get_backend_memory_contexts
SELECT count(*) FROM pg_get_backend_memory_contexts()

-- pg_log_backend_memory_contexts
SELECT pg_log_backend_memory_contexts(0)

-- a user's procedural function
SELECT f_pg(1)

-- a user's procedural aggregate
SELECT a_collect(name) FROM wards

-- a user's procedural operator
SELECT 'a' <<<< 'b'

-- DO
DO $$ BEGIN END $$

-- CALL
CALL f_call('x')
