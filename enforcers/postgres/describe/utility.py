"""Everything that is not SELECT, INSERT, UPDATE, DELETE or MERGE. What no table here names is opaque."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from enforcers.postgres.describe import (
    casts,
    constants,
    copying,
    definitions,
    effects,
    expressions,
    flows,
    functions,
    queries,
    references,
    relations,
    statements,
    unlabelling,
)
from enforcers.postgres.describe.context import Context, Node, OutColumn, Scope, strings, unwrap
from enforcers.postgres.describe.settings import touch_setting
from enforcers.postgres.description import Control

_CONTROL = {
    "BEGIN": Control.BEGIN,
    "START": Control.BEGIN,
    "COMMIT": Control.COMMIT,
    "ROLLBACK": Control.ROLLBACK,
    "SAVEPOINT": Control.SAVEPOINT,
    "RELEASE": Control.SAVEPOINT,
    "ROLLBACK_TO": Control.ROLLBACK_TO,
    "PREPARE": Control.PREPARED,
    "COMMIT_PREPARED": Control.PREPARED,
    "ROLLBACK_PREPARED": Control.PREPARED,
}


def describe(context: Context, kind: str, body: Node, scope: Scope) -> list[OutColumn]:
    handler = _HANDLERS.get(kind)
    if handler is not None:
        return handler(context, body, scope) or []
    facts = context.facts
    verb = next((verb for kinds, verb in definitions.FAMILIES if kind in kinds), "")
    if not verb:
        facts.verb("sql.unknown")
        facts.doubt("unknown-statement", kind or "nothing")
        facts.writes = facts.ddl = facts.changes_names = True
        return []
    definitions.define(context, kind, body, scope, verb=verb)
    return []


def _transaction(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    kind = str(body.get("kind", "")).removeprefix("TRANS_STMT_")
    facts.control = _CONTROL.get(kind, Control.NONE)
    facts.verb("sql.two-phase" if facts.control is Control.PREPARED else "sql.transaction")
    if facts.control is Control.NONE:
        facts.doubt("unknown-statement", f"transaction statement {kind}")
    if facts.control is Control.PREPARED:
        facts.writes = True
        facts.single_transaction = kind != "PREPARE"
        facts.ddl = kind == "COMMIT_PREPARED"  # nobody here knows what was prepared
    facts.savepoint = str(body.get("savepoint_name", ""))
    facts.chain = bool(body.get("chain"))
    if facts.control in {Control.COMMIT, Control.ROLLBACK, Control.ROLLBACK_TO, Control.PREPARED}:
        facts.changes_names = True  # SET LOCAL ends, a SET or DDL may be undone
    _modes(context, body.get("options"), "")


def _modes(context: Context, options: Any, prefix: str) -> None:
    for item in options or []:
        option = item.get("DefElem", {})
        value = unwrap(option.get("arg") or {})[1]
        text = value.get("sval", {}).get("sval") if "sval" in value else str(value.get("ival", {}).get("ival", 0))
        name = str(option.get("defname", ""))
        touch_setting(context, prefix + name, "set" if prefix else "set-local", "" if text is None else str(text))


def _set(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    kind, name = str(body.get("kind", "")).removeprefix("VAR_"), str(body.get("name", ""))
    local = bool(body.get("is_local"))
    if kind == "SET_MULTI":
        facts.verb("sql.transaction")
        facts.control = Control.SET_TRANSACTION
        if name == "TRANSACTION SNAPSHOT":
            touch_setting(context, "transaction_snapshot", "set-local", "")
        else:
            _modes(context, body.get("args"), "default_" if name == "SESSION CHARACTERISTICS" else "")
        return
    if kind in {"RESET", "RESET_ALL"}:
        facts.verb("sql.reset")
        touch_setting(context, "*" if kind == "RESET_ALL" else name, "reset", "")
        return
    facts.verb("sql.set")
    if kind == "SET_DEFAULT":
        touch_setting(context, name, "reset", "")  # SET LOCAL … TO DEFAULT too: to what the session began with
        return
    if kind == "SET_CURRENT":
        facts.doubt("dynamic-setting", f"{name} FROM CURRENT")
    values = []
    for item in body.get("args", []):
        node_kind, value = unwrap(item)
        if node_kind == "TypeCast":
            node_kind, value = unwrap(value.get("arg") or {})
        if node_kind != "A_Const":
            facts.doubt("dynamic-setting", name)
        for field, inner in (("sval", "sval"), ("ival", "ival"), ("fval", "fval"), ("boolval", "boolval")):
            if field in value:
                values.append(str(value[field].get(inner, 0 if field == "ival" else "")))
    touch_setting(context, name, "set-local" if local else "set", ", ".join(values))


def _show(context: Context, body: Node, scope: Scope) -> None:
    name = str(body.get("name", ""))
    context.facts.verb("sql.show")
    context.facts.returns_rows = True
    touch_setting(context, "*" if name == "all" else name, "show", "")


def _discard(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.discard")
    if body.get("target") in {"DISCARD_ALL", "DISCARD_TEMP"}:
        touch_setting(context, "*", "reset", "")
        facts.changes_names = True  # temporary objects go; nobody else had them
    facts.single_transaction = body.get("target") == "DISCARD_ALL"


def _explain(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    options = [item.get("DefElem", {}) for item in body.get("options", [])]
    analyze = False
    for option in options:
        if option.get("defname") == "analyze":
            value = unwrap(option.get("arg") or {})[1]
            text = str(value.get("sval", value.get("boolval", value.get("ival", "true")))).lower()
            analyze = text not in {"false", "off", "0", "no"}
    kind, inner = unwrap(body.get("query", {}))
    facts.verb("sql.explain")
    before = dict(facts.verbs)
    ddl, names, temporary = facts.ddl, facts.changes_names, facts.makes_temporary
    statements.nested(context, kind, inner, scope)
    facts.returns_rows = True
    facts.copy_in = facts.copy_out = False
    # Estimates tell of every column that the plan reads; under ANALYZE so do counts and times.
    facts.infer({(oid, attnum): "" for oid, attnum, use in facts.columns if use != "write"}, "estimate")
    if not analyze:
        # Planning may run functions that are stable or immutable, but nothing that the statement itself would do.
        # facts.writes stays: the locks of a write are taken all the same.
        facts.verbs = before
        facts.ddl, facts.changes_names, facts.makes_temporary = ddl, names, temporary


def _prepare(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    facts = context.facts
    facts.verb("sql.prepare")
    facts.prepared = str(body.get("name", ""))
    for item in body.get("argtypes", []):
        casts.type_name(context, item.get("TypeName", {}), scope)
    kind, inner = unwrap(body.get("query", {}))
    columns = queries.query(context, {kind: inner}, scope)
    if kind == "SelectStmt":
        facts.verb("sql.select")
    facts.returns_rows = False
    facts.parameters = 0
    facts.known_rows = 0  # it touches none; EXECUTE is decided by itself
    return columns


def _execute(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.execute")
    facts.prepared = str(body.get("name", ""))
    for item in body.get("params", []):
        constants.free(context, item)
    expressions.walk(context, body.get("params"), scope)
    facts.doubt("prepared-unknown", facts.prepared)
    facts.writes = facts.changes_names = facts.ddl = True
    facts.returns_rows = True
    facts.output_open = True


def _deallocate(context: Context, body: Node, scope: Scope) -> None:
    context.facts.verb("sql.deallocate")
    context.facts.prepared = str(body.get("name", ""))


def _declare(context: Context, body: Node, scope: Scope) -> list[OutColumn]:
    facts = context.facts
    facts.verb("sql.declare", "sql.select")
    facts.cursor = str(body.get("portalname", ""))
    facts.cursor_options = int(body.get("options", 0))
    columns = queries.query(context, body.get("query", {}), scope)
    facts.returns_rows = False
    return columns


_FETCH_ALL = 1 << 31  # howMany of ALL is the largest long


def _fetch(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.fetch", "sql.select")
    facts.cursor = str(body.get("portalname", ""))
    count = abs(int(body.get("howMany", 0)))
    if body.get("direction") in {"FETCH_ABSOLUTE", "FETCH_RELATIVE"}:
        count = 1
    if count < _FETCH_ALL:
        facts.known_rows = max(count, 1)
    facts.doubt("cursor-unknown", facts.cursor)
    facts.returns_rows = not body.get("ismove")
    facts.output_open = True


def _close(context: Context, body: Node, scope: Scope) -> None:
    context.facts.verb("sql.close")
    context.facts.cursor = str(body.get("portalname", ""))


def _is_header(option: Node) -> bool:
    """HEADER, HEADER true, on or 1. What else the target takes for true (HEADER 'oN') it spells alike: by its words."""
    element = option.get("DefElem", {})
    if element.get("defname") != "header":
        return False
    if "arg" not in element:
        return True
    value = unwrap(element["arg"])[1]
    for field in ("sval", "ival", "boolval"):
        if field in value:
            return str(value[field]).lower() in {"true", "on", "1"}
    return False


def _copy(context: Context, body: Node, scope: Scope) -> list[OutColumn] | None:
    """The columns that COPY TO STDOUT sends."""
    facts = context.facts
    incoming = bool(body.get("is_from"))
    if body.get("is_program") or body.get("filename"):
        facts.verb("sql.copy-server")
        facts.writes = True
        facts.doubt("server-program" if body.get("is_program") else "server-file", "COPY")
    elif incoming:
        facts.verb("sql.copy-from")
        facts.copy_in = True
        facts.not_covered["the rows that COPY FROM STDIN sends"] = None
    else:
        facts.verb("sql.copy-to")
        facts.copy_out = True
        facts.copy_header = any(_is_header(option) for option in body.get("options", []))
        facts.copy_form = copying.form_of(body.get("options", []))
    facts.returns_rows = False
    names = strings(body.get("attlist"))
    if body.get("query"):
        kind, inner = unwrap(body["query"])
        sent = queries.query(context, {kind: inner}, scope)
        if kind == "SelectStmt":
            facts.verb("sql.select")
        return _sent(context, sent)
    relation = relations.lookup(context, body.get("relation", {}))
    if relation is None:
        facts.writes = facts.writes or incoming
        return None
    if incoming:
        effects.write(context, relation, "insert", names or None)
        flows.probed(context, relation, "insert", [], set(names) or None)
        columns = relations.read(context, relation, access="") if body.get("whereClause") else []
        # The rows that arrive, which are the client's own.
        expressions.walk(context, body.get("whereClause"), Scope(columns=[OutColumn(item.name) for item in columns]))
        return None
    by_name = {column.name: column for column in relations.read(context, relation)}
    kept = names or [column.name for column in relation.columns if not column.generated]
    return _sent(context, [by_name[name] for name in kept if name in by_name])


def _sent(context: Context, columns: list[OutColumn]) -> list[OutColumn] | None:
    """What COPY sends to the client; what it sends elsewhere is only read."""
    if context.facts.copy_form is not None:
        return columns
    context.facts.shown = columns
    for column in columns:
        references.mark(context, column, "other")
    return None


_ACCESS_SHARE = 1  # AccessShareLock of src/include/storage/lockdefs.h: what reading takes


def _lock(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    reading = body.get("mode") == _ACCESS_SHARE
    facts.verb("sql.lock-read" if reading else "sql.lock")
    written = facts.writes
    for item in body.get("relations", []):
        relation = relations.lookup(context, item.get("RangeVar", {}))
        if relation is not None:
            facts.access(relation, "lock", context.via)
            relations.family(context, relation, "lock")
    facts.writes = written or not reading


def _truncate(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.truncate")
    facts.writes = True
    pending = []
    for item in body.get("relations", []):
        relation = relations.lookup(context, item.get("RangeVar", {}))
        if relation is not None:
            pending.append((context, relation))
    if pending and all(relation.temporary for _, relation in pending):
        for inner, relation in pending:
            effects.write(inner, relation, "truncate")
        facts.verbs.pop("sql.truncate", None)
        facts.verb("sql.temporary")
        return
    done: set[int] = set()
    while pending:
        inner, relation = pending.pop()
        if relation.oid in done:
            continue
        done.add(relation.oid)
        effects.write(inner, relation, "truncate")
        if body.get("behavior") == "DROP_CASCADE":
            for key in context.catalog.foreign_keys_to.get(relation.oid, ()):
                child = context.catalog.relation(key.child)
                if child is not None:
                    pending.append((context.inner("cascade"), child))


def _create_as(context: Context, body: Node, scope: Scope) -> None:
    kind, inner = unwrap(body.get("query", {}))
    if kind == "ExecuteStmt":
        _execute(context, inner, scope)
        columns: list[OutColumn] = []
    else:
        columns = queries.query(context, {kind: inner}, scope)
    statements.into(context, body.get("into", {}), columns)
    context.facts.returns_rows = False


def _refresh(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.refresh")
    facts.ddl = facts.writes = True
    relation = relations.lookup(context, body.get("relation", {}))
    if relation is not None:
        facts.access(relation, "ddl", context.via)
        for column, target in zip(relations.view(context, relation), relation.columns, strict=False):
            references.mark(context, column, "other")
            own = (relation.oid, target.attnum)
            made = {key: way for key, way in column.value.sources.items() if key != own}
            facts.flow(made, (relation.schema, relation.name, target.name), "create")
    definitions.event_triggers(context)


def _comment(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.comment")
    facts.ddl = facts.writes = True
    text = body.get("comment", body.get("label"))
    unlabelling.commented(context, body, text, body.get("provider"))
    definitions.event_triggers(context)


def _call(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.call")
    facts.doubt("call", ".".join(strings(body.get("funccall", {}).get("funcname"))))
    functions.call(context, body.get("funccall", {}), scope, procedure=True)
    expressions.told(context, [expressions.walk(context, body.get("funccall", {}).get("args"), scope)], "CALL")
    facts.writes = facts.ddl = facts.changes_names = True
    facts.returns_rows = True
    facts.output_open = True


def _do(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.do")
    facts.doubt("do-block", "DO")
    facts.writes = facts.ddl = facts.changes_names = True
    facts.not_covered["what the DO block runs"] = None


def _maintenance(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    options = {str(item.get("DefElem", {}).get("defname", "")) for item in body.get("options", [])}
    if not body.get("is_vacuumcmd"):
        facts.verb("sql.analyze")
    else:
        facts.verb("sql.cluster" if "full" in options else "sql.vacuum")
        facts.single_transaction = True
        if "analyze" in options:
            facts.verb("sql.analyze")
    facts.writes = True
    for item in body.get("rels", []):
        table = item.get("VacuumRelation", {}).get("relation")
        relation = relations.lookup(context, table) if table else None
        if relation is not None:
            facts.access(relation, "ddl", context.via)
            if relation.kind == "foreign-table":
                relations.afar(context, relation, "read")
            relations.family(context, relation, "")  # ANALYZE samples foreign partitions as well
            _index_expressions(context, relation.oid)
    if not body.get("rels"):
        _all_index_expressions(context)


def _all_index_expressions(context: Context) -> None:
    for oid in context.catalog.expressions:
        _index_expressions(context, oid)


def _index_expressions(context: Context, oid: int) -> None:
    relation = context.catalog.relation(oid)
    for expression in context.catalog.expressions.get(oid, ()):
        if expression.kind == "index" and relation is not None:
            expressions.stored(context.inner("index"), expression.text, relation=relation)


def _reindex(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    cluster = "params" in body and "kind" not in body
    facts.verb("sql.cluster" if cluster or "indexname" in body else "sql.reindex")
    facts.writes = facts.ddl = True
    options = {str(item.get("DefElem", {}).get("defname", "")) for item in body.get("params", [])}
    facts.single_transaction = "concurrently" in options or body.get("relation") is None
    if body.get("relation"):
        relation = relations.lookup(context, body["relation"])
        if relation is not None:
            facts.access(relation, "ddl", context.via)
            _index_expressions(context, relation.oid)
    else:
        _all_index_expressions(context)
    definitions.event_triggers(context)


def _cluster(context: Context, body: Node, scope: Scope) -> None:
    _reindex(context, {**body, "indexname": body.get("indexname", "")}, scope)


def _notify(verb: str) -> Callable[[Context, Node, Scope], None]:
    def handler(context: Context, body: Node, scope: Scope) -> None:
        context.facts.verb(verb)

    return handler


def _constraints(context: Context, body: Node, scope: Scope) -> None:
    context.facts.verb("sql.transaction")


_HANDLERS: dict[str, Callable[[Context, Node, Scope], list[OutColumn] | None]] = {
    "CallStmt": _call,
    "ClosePortalStmt": _close,
    "ClusterStmt": _cluster,
    "CommentStmt": _comment,
    "ConstraintsSetStmt": _constraints,
    "CopyStmt": _copy,
    "CreateTableAsStmt": _create_as,
    "DeallocateStmt": _deallocate,
    "DeclareCursorStmt": _declare,
    "DiscardStmt": _discard,
    "DoStmt": _do,
    "DropOwnedStmt": definitions.drop_owned,
    "DropStmt": definitions.drop,
    "ExecuteStmt": _execute,
    "ExplainStmt": _explain,
    "FetchStmt": _fetch,
    "ListenStmt": _notify("sql.listen"),
    "LockStmt": _lock,
    "NotifyStmt": _notify("sql.notify"),
    "PrepareStmt": _prepare,
    "RefreshMatViewStmt": _refresh,
    "ReindexStmt": _reindex,
    "SecLabelStmt": _comment,
    "TransactionStmt": _transaction,
    "TruncateStmt": _truncate,
    "UnlistenStmt": _notify("sql.unlisten"),
    "VacuumStmt": _maintenance,
    "VariableSetStmt": _set,
    "VariableShowStmt": _show,
}
KINDS: frozenset[str] = frozenset(_HANDLERS) | definitions.KINDS
