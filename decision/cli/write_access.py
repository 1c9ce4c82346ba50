"""Can the planner's target account write? It is the one defence left if a description is ever wrong.

Asked of the target with that account, in one statement of catalog reads. Every way counts, also those that need a step
first: a role it may change to (SET ROLE), what it owns and may so grant itself, a rank that lets it make such roles, a
function that writes for whoever calls it. Source: PostgreSQL documentation, "Database Roles", "Privileges",
"Predefined Roles". Not counted, because every account may: temporary tables, large objects, advisory locks.
"""

from __future__ import annotations

from collections.abc import Sequence

from decision.cli.config import Loaded
from decision.cli.finding import Finding
from decision.cli.settings import Account, Connection

SHOWN = 5
_ADVICE = "give planners an account that can only read: it is the last defence if a description is ever wrong"

# `me`: the account's own role and every role whose rights it has or can get by SET ROLE. Of a superuser that is every
# role: its rank alone is told.
CAN_WRITE = """
WITH self AS (SELECT * FROM pg_catalog.pg_roles WHERE rolname = current_user),
me AS (
    SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r, self
    WHERE NOT self.rolsuper AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
),
schemas AS (SELECT * FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.!~~) 'pg\\_%'
            AND nspname OPERATOR(pg_catalog.<>) 'information_schema'),
ways AS (
SELECT 1 AS place, 'is a superuser' AS way FROM self WHERE rolsuper
UNION ALL
SELECT 2, 'may create roles' FROM self WHERE rolcreaterole AND NOT rolsuper
UNION ALL
SELECT 3, 'may create databases' FROM self WHERE rolcreatedb AND NOT rolsuper
UNION ALL
SELECT 4, pg_catalog.format('is a member of %I', rolname) FROM me
WHERE rolname OPERATOR(pg_catalog.=) ANY (
    ARRAY['pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program', 'pg_database_owner',
          'pg_read_server_files', 'pg_create_subscription']::pg_catalog.name[])
UNION ALL
SELECT 4, pg_catalog.format('may become %I, a superuser', r.rolname) FROM me JOIN pg_catalog.pg_roles r
    ON r.oid OPERATOR(pg_catalog.=) me.oid WHERE r.rolsuper
UNION ALL
SELECT 5, pg_catalog.format('owns the database') FROM pg_catalog.pg_database d JOIN me
    ON me.oid OPERATOR(pg_catalog.=) d.datdba WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
UNION ALL
SELECT 5, pg_catalog.format('may create schemas') FROM me
WHERE pg_catalog.has_database_privilege(me.oid, pg_catalog.current_database(), 'CREATE')
UNION ALL
SELECT 6, pg_catalog.format('owns the schema %I', n.nspname) FROM schemas n JOIN me
    ON me.oid OPERATOR(pg_catalog.=) n.nspowner
UNION ALL
SELECT 6, pg_catalog.format('may create in schema %I', n.nspname) FROM schemas n, me
WHERE pg_catalog.has_schema_privilege(me.oid, n.oid, 'CREATE')
UNION ALL
SELECT 7, pg_catalog.format('owns %I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
    JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    JOIN me ON me.oid OPERATOR(pg_catalog.=) c.relowner
WHERE c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f', 'S'])
UNION ALL
SELECT 7, pg_catalog.format('may write %I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
    JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace, me
WHERE c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'f'])
  AND (pg_catalog.has_table_privilege(me.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
       OR pg_catalog.has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE'))
UNION ALL
SELECT 8, pg_catalog.format('may change the sequence %I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
    JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace, me
WHERE c.relkind::pg_catalog.text OPERATOR(pg_catalog.=) 'S'
  AND pg_catalog.has_sequence_privilege(me.oid, c.oid, 'USAGE, UPDATE')
UNION ALL
SELECT 9, pg_catalog.format('may run %I.%I, which acts as %I', n.nspname, p.proname, o.rolname)
FROM pg_catalog.pg_proc p
    JOIN schemas n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) p.proowner, me
WHERE p.prosecdef AND p.provolatile::pg_catalog.text OPERATOR(pg_catalog.=) 'v'
  AND p.prorettype OPERATOR(pg_catalog.<>) ALL (ARRAY['trigger', 'event_trigger']::pg_catalog.regtype[]::oid[])
  AND pg_catalog.has_schema_privilege(me.oid, n.oid, 'USAGE')
  AND pg_catalog.has_function_privilege(me.oid, p.oid, 'EXECUTE')
)
SELECT way FROM (SELECT way, pg_catalog.min(place) AS place FROM ways GROUP BY way) AS each
ORDER BY place, way LIMIT 6
"""


def can_write(name: str, account: Account, rows: Sequence[Sequence[object]]) -> Finding:
    """name: the finding's subject. rows: the answer to CAN_WRITE."""
    if not rows:
        return Finding("ok", name, f"the planner's account {account.user} can only read")
    ways = "; ".join(str(row[0]) for row in rows[:SHOWN])
    more = "; and more" if len(rows) > SHOWN else ""
    return Finding("warning", name, f"the planner's account {account.user} can write: it {ways}{more}", _ADVICE)


def separate(loaded: Loaded, connection: Connection) -> Finding | None:
    """A warning where planners and executors share a target account: the target can't tell them apart then."""
    accounts = connection.credentials
    planner, executor = (accounts.get(role) or accounts.get("default") for role in ("planner", "executor"))
    if planner is None or executor is None or planner.user != executor.user:
        return None
    index = loaded.config.connections.index(connection)
    line = loaded.document.line(("connections", index, "credentials"))
    return Finding(
        "warning",
        f"connection {connection.name}",
        f"{loaded.document.file}:{line}: planners and executors share the target account {planner.user}",
        "give each its own: credentials.planner with an account that can only read, credentials.executor",
    )
