-- defaults | modes=simple,extended

-- tables
SELECT schemaname, tablename, tableowner, hasindexes FROM pg_tables WHERE schemaname IN ('public', 'shop', 'other') ORDER BY 1, 2

-- views
SELECT schemaname, viewname, definition FROM pg_views WHERE schemaname = 'shop' ORDER BY 1, 2

-- indexes
SELECT * FROM pg_indexes WHERE schemaname IN ('public', 'shop') ORDER BY 1, 2, 3

-- matviews
SELECT * FROM pg_matviews WHERE schemaname = 'shop'

-- sequences
SELECT * FROM pg_sequences ORDER BY 1, 2

-- roles
SELECT rolname, rolsuper, rolcanlogin FROM pg_roles WHERE rolname NOT LIKE 'pg_%' ORDER BY 1

-- pg_user
SELECT usename, usesuper FROM pg_user ORDER BY 1

-- databases
SELECT datname, datistemplate, encoding FROM pg_database ORDER BY 1

-- namespaces
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_toast' ORDER BY 1

-- types
SELECT typname, typtype, typlen FROM pg_type WHERE typnamespace = 'shop'::regnamespace ORDER BY 1

-- enums
SELECT enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid WHERE typname = 'state' ORDER BY enumsortorder

-- attributes of a classified table
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attnum FROM pg_attribute
 WHERE attrelid = 'public.patients'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum

-- constraints
SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace IN ('public'::regnamespace, 'shop'::regnamespace) ORDER BY 1

-- defaults
SELECT adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'shop.products'::regclass ORDER BY 1

-- functions
SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), prosrc FROM pg_proc WHERE pronamespace = 'shop'::regnamespace ORDER BY 1

-- a function's definition
SELECT pg_get_functiondef('shop.touch'::regproc)

-- triggers
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1

-- comments
SELECT obj_description('shop.orders'::regclass), col_description('shop.orders'::regclass, 4)

-- extensions
SELECT extname, extversion FROM pg_extension ORDER BY 1

-- available extensions
SELECT name, default_version FROM pg_available_extensions ORDER BY 1

-- languages
SELECT lanname, lanpltrusted FROM pg_language ORDER BY 1

-- operators
SELECT oprname, oprleft::regtype, oprright::regtype FROM pg_operator WHERE oprname = '=' ORDER BY 2, 3

-- casts
SELECT count(*) FROM pg_cast

-- collations
SELECT collname FROM pg_collation ORDER BY 1 LIMIT 5

-- access methods
SELECT amname FROM pg_am ORDER BY 1

-- tablespaces
SELECT spcname FROM pg_tablespace ORDER BY 1

-- inheritance
SELECT inhrelid::regclass, inhparent::regclass FROM pg_inherits ORDER BY 1

-- partitions
SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition ORDER BY 1

-- partition key
SELECT pg_get_partkeydef('public.events'::regclass)

-- a view's definition
SELECT pg_get_viewdef('public.v_plain'::regclass, true)

-- rules
SELECT rulename, ev_class::regclass FROM pg_rewrite WHERE ev_class = 'shop.sales'::regclass

-- dependencies
SELECT count(*) > 0 FROM pg_depend WHERE refobjid = 'public.patients'::regclass

-- statistics objects
SELECT stxname, stxkeys, stxkind FROM pg_statistic_ext

-- table statistics
SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'shop' ORDER BY 1

-- index statistics
SELECT indexrelname FROM pg_stat_user_indexes WHERE schemaname = 'shop' ORDER BY 1

-- io statistics
SELECT relname FROM pg_statio_user_tables WHERE schemaname = 'shop' ORDER BY 1

-- publications
SELECT * FROM pg_publication

-- foreign servers
SELECT srvname FROM pg_foreign_server

-- time zones
SELECT count(*) > 300 FROM pg_timezone_names

-- locks of one's own
SELECT mode FROM pg_locks WHERE locktype = 'virtualxid' AND pid = pg_backend_pid()

-- information_schema tables
SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema IN ('public', 'shop', 'other') ORDER BY 1, 2

-- information_schema columns
SELECT * FROM information_schema.columns WHERE table_schema IN ('public', 'shop') ORDER BY table_name, ordinal_position

-- information_schema constraints
SELECT * FROM information_schema.table_constraints WHERE table_schema IN ('public', 'shop') ORDER BY table_name, constraint_name

-- information_schema keys
SELECT * FROM information_schema.key_column_usage WHERE table_schema = 'shop' ORDER BY table_name, constraint_name

-- information_schema references
SELECT * FROM information_schema.referential_constraints ORDER BY constraint_name

-- information_schema views
SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = 'shop' ORDER BY 1

-- information_schema routines
SELECT routine_name, data_type FROM information_schema.routines WHERE routine_schema = 'shop' ORDER BY 1

-- information_schema schemata
SELECT schema_name FROM information_schema.schemata ORDER BY 1

-- information_schema privileges
SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'shop' ORDER BY 1, 2, 3

-- information_schema sequences
SELECT * FROM information_schema.sequences ORDER BY 2, 3

-- information_schema domains
SELECT domain_name, data_type FROM information_schema.domains WHERE domain_schema IN ('public', 'shop') ORDER BY 1

-- information_schema triggers
SELECT trigger_name, event_manipulation FROM information_schema.triggers ORDER BY 1

-- information_schema element types
SELECT object_name, data_type FROM information_schema.element_types WHERE object_schema = 'shop' ORDER BY 1

-- relation kinds
SELECT relname, relkind, relpersistence, reltuples >= -1 FROM pg_class WHERE relnamespace = 'shop'::regnamespace ORDER BY 1

-- keywords
SELECT count(*) > 400 FROM pg_get_keywords()

-- identity columns
SELECT attname, attidentity, pg_get_serial_sequence('shop.customers', 'id') FROM pg_attribute WHERE attidentity <> ''

-- column privileges
SELECT has_column_privilege('patients', 'ssn', 'select'), has_any_column_privilege('patients', 'select')

-- acl
SELECT relname, relacl FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relacl IS NOT NULL ORDER BY 1

-- descriptions by objsubid
SELECT objsubid, description FROM pg_description WHERE objoid = 'shop.orders'::regclass ORDER BY 1

-- what psql asks for its prompt
SELECT pg_catalog.current_schemas(false)
