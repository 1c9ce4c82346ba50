"""The command tag's family for each statement kind (libpq's PQcmdStatus without its numbers)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Where the words of the parser's own name for it are others.
_FIXED = {
    "TruncateStmt": "TRUNCATE TABLE", "LockStmt": "LOCK TABLE", "ClosePortalStmt": "CLOSE CURSOR",
    "CheckPointStmt": "CHECKPOINT", "VariableShowStmt": "SHOW", "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ConstraintsSetStmt": "SET CONSTRAINTS", "CreateStmt": "CREATE TABLE", "IndexStmt": "CREATE INDEX",
    "ViewStmt": "CREATE VIEW", "RuleStmt": "CREATE RULE", "DefineStmt": "CREATE", "CreatedbStmt": "CREATE DATABASE",
    "DropdbStmt": "DROP DATABASE", "RenameStmt": "ALTER", "CreateTrigStmt": "CREATE TRIGGER",
    "CreateSeqStmt": "CREATE SEQUENCE", "AlterSeqStmt": "ALTER SEQUENCE", "CompositeTypeStmt": "CREATE TYPE",
    "CreateEnumStmt": "CREATE TYPE", "CreateRangeStmt": "CREATE TYPE",
}  # fmt: skip
_TRANSACTION = {
    "BEGIN": "BEGIN", "START": "START TRANSACTION", "COMMIT": "COMMIT", "ROLLBACK": "ROLLBACK",
    "SAVEPOINT": "SAVEPOINT", "RELEASE": "RELEASE", "ROLLBACK_TO": "ROLLBACK", "PREPARE": "PREPARE TRANSACTION",
    "COMMIT_PREPARED": "COMMIT PREPARED", "ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}  # fmt: skip


def command_tag(kind: str, body: Mapping[str, Any]) -> str:
    """The words before the numbers in CommandComplete; for DDL that has many forms, their family."""
    if not kind:
        return ""
    if kind == "TransactionStmt":
        return _TRANSACTION.get(str(body.get("kind", "")).removeprefix("TRANS_STMT_"), "TRANSACTION")
    if kind in _BY_FIELD:
        field, yes, no = _BY_FIELD[kind]
        return yes if body.get(field) else no
    if kind == "VariableSetStmt":
        return "RESET" if str(body.get("kind", "")) in {"VAR_RESET", "VAR_RESET_ALL"} else "SET"
    if kind == "CreateTableAsStmt":
        return "CREATE MATERIALIZED VIEW" if body.get("objtype") == "OBJECT_MATVIEW" else "CREATE TABLE AS"
    if kind == "DiscardStmt":
        return "DISCARD " + str(body.get("target", "DISCARD_ALL")).removeprefix("DISCARD_")
    if kind == "DropStmt":
        return "DROP " + _object(body.get("removeType"))
    if kind == "AlterTableStmt":
        return "ALTER " + _object(body.get("objtype", "OBJECT_TABLE"))
    return _FIXED.get(kind) or " ".join(re.findall("[A-Z][a-z]*|[A-Z]+", kind.removesuffix("Stmt"))).upper()


_BY_FIELD = {
    "FetchStmt": ("ismove", "MOVE", "FETCH"),
    "VacuumStmt": ("is_vacuumcmd", "VACUUM", "ANALYZE"),
    "GrantStmt": ("is_grant", "GRANT", "REVOKE"),
    "SelectStmt": ("intoClause", "SELECT INTO", "SELECT"),
}


def _object(kind: object) -> str:
    return str(kind or "").removeprefix("OBJECT_").replace("_", " ").replace("MATVIEW", "MATERIALIZED VIEW")
