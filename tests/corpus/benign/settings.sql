-- defaults | modes=simple,extended

-- SHOW
SHOW search_path

-- SHOW server_version
SHOW server_version

-- SHOW TRANSACTION ISOLATION LEVEL
SHOW TRANSACTION ISOLATION LEVEL

-- SHOW TIME ZONE
SHOW TIME ZONE

-- SHOW standard_conforming_strings
SHOW standard_conforming_strings

-- SET client_encoding to what it is
SET client_encoding TO 'UTF8'

-- SET NAMES to what it is
SET NAMES 'utf-8'

-- SET standard_conforming_strings to what it is
SET standard_conforming_strings = on

-- SHOW max_identifier_length
SHOW max_identifier_length

-- SHOW datestyle
SHOW datestyle

-- SHOW server_encoding
SHOW server_encoding

-- SHOW an unknown one
SHOW nothing_at_all

-- SET application_name | modes=simple
SET application_name = 'corpus'
SHOW application_name
RESET application_name

-- SET datestyle | modes=simple
SET datestyle = 'ISO, DMY'
SELECT date '2026-01-02'
RESET datestyle

-- SET timezone | modes=simple
SET TIME ZONE 'Asia/Tokyo'
SELECT timestamptz '2026-01-01 00:00+00'
RESET timezone

-- SET extra_float_digits | modes=simple
SET extra_float_digits = 3
SELECT 0.1::float8
RESET extra_float_digits

-- SET intervalstyle | modes=simple
SET intervalstyle = iso_8601
SELECT interval '1 day 2 hours'
RESET intervalstyle

-- SET bytea_output | modes=simple
SET bytea_output = 'escape'
SELECT '\x41'::bytea
RESET bytea_output

-- SET client_min_messages | modes=simple
SET client_min_messages = warning
SHOW client_min_messages
RESET client_min_messages

-- SET LOCAL | modes=simple
BEGIN
SET LOCAL timezone = 'UTC'
SHOW timezone
COMMIT

-- SET jit | modes=simple
SET jit = off
SHOW jit
RESET jit

-- SET SESSION CHARACTERISTICS | modes=simple
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
SHOW transaction_isolation

-- RESET ALL | modes=simple
RESET ALL
SHOW timezone

-- current_setting
SELECT current_setting('server_version_num'), current_setting('nothing.there', true)

-- set_config of a driver | modes=simple
SELECT set_config('bytea_output', 'hex', false)

-- set_config from pg_settings | modes=simple
SELECT set_config('bytea_output', 'hex', false) FROM pg_catalog.pg_settings WHERE name = 'bytea_output'

-- version
SELECT version()

-- who and where
SELECT current_user, session_user, current_database(), current_schema(), current_schemas(true), current_catalog

-- user
SELECT user, current_role

-- transaction's age
SELECT now() = transaction_timestamp(), statement_timestamp() <= clock_timestamp()

-- in recovery
SELECT pg_is_in_recovery()

-- encoding
SELECT pg_client_encoding(), getdatabaseencoding()

-- sizes
SELECT pg_size_pretty(pg_relation_size('shop.orders')), pg_table_size('wards'), pg_total_relation_size('wards')

-- privileges
SELECT has_table_privilege('wards', 'select'), has_schema_privilege('shop', 'usage'), has_database_privilege('a', 'connect')

-- regclass
SELECT 'wards'::regclass, 'shop.orders'::regclass::oid = 'shop.orders'::regclass, to_regclass('nowhere'), 1259::regclass

-- regtype
SELECT 'int4'::regtype, 25::regtype, format_type(1043, 24), pg_typeof(1)

-- to_char
SELECT to_char(timestamptz '2026-02-03 04:05:06+00', 'YYYY'), to_date('2026', 'YYYY'), to_timestamp(0)

-- uuid
SELECT pg_typeof(gen_random_uuid())

-- sequences seen
SELECT last_value, is_called FROM shop.customers_id_seq
