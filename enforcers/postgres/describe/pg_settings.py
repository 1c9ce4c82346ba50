"""Which setting a query over pg_settings sets, where that can be told: pg_dump has no other way to set one that the
server may not know (`SELECT set_config(name, 'value', false) FROM pg_settings WHERE name = 'a setting'`)."""

from __future__ import annotations

from enforcers.postgres.describe.context import Context, Node, strings, unwrap

_PARTS = frozenset({"targetList", "fromClause", "whereClause", "limitOption", "op"})


def setting_found(context: Context, body: Node) -> str | None:
    """body: a whole SELECT. The name that it compares pg_settings.name with, where that is all it does; else None."""
    sources, targets = body.get("fromClause") or [], body.get("targetList") or []
    if set(body) - _PARTS or len(sources) != 1 or len(targets) != 1 or not _is_call(targets[0]):
        return None
    kind, table = unwrap(sources[0])
    if kind != "RangeVar" or "alias" in table:
        return None
    relation = context.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
    if relation is None or (relation.schema, relation.name) != ("pg_catalog", "pg_settings"):
        return None
    kind, compared = unwrap(body.get("whereClause") or {})
    if kind != "A_Expr" or compared.get("kind") != "AEXPR_OP" or strings(compared.get("name")) != ["="]:
        return None
    kind, column = unwrap(compared.get("lexpr") or {})
    if kind != "ColumnRef" or strings(column.get("fields")) != ["name"] or context.operator_functions("="):
        return None
    kind, value = unwrap(compared.get("rexpr") or {})
    return str(value["sval"].get("sval", "")) if kind == "A_Const" and "sval" in value else None


def _is_call(target: Node) -> bool:
    """f(name, 'a', true): with anything else among the arguments `name` could be another column's."""
    kind, call = unwrap(target.get("ResTarget", {}).get("val") or {})
    if kind != "FuncCall" or set(call) - {"funcname", "args", "funcformat", "location"}:
        return False
    return [unwrap(item)[0] for item in call.get("args", [])] == ["ColumnRef", "A_Const", "A_Const"]
