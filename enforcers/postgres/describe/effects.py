"""What a write brings along: cascades, triggers, rules, defaults, checks, generated columns, indexes, policies."""

from __future__ import annotations

from collections.abc import Collection

import orjson
from pglast.parser import ParseError

from enforcers.postgres.catalog.objects import Relation
from enforcers.postgres.describe import expressions, flows, functions, relations, statements
from enforcers.postgres.describe.context import Context, OutColumn, Scope, Source, unwrap
from enforcers.postgres.describe.foreign import stored_tree
from enforcers.postgres.describe.lineage import COPY, Value

_RULE_EVENT = {"update": "2", "insert": "3", "delete": "4"}
_EXPRESSIONS = {
    "insert": ("default", "generated", "check", "index"),
    "update": ("generated", "check", "index"),
    "delete": (),
    "truncate": (),
}


def write(
    context: Context,
    relation: Relation,
    event: str,
    columns: Collection[str] | None = None,
    *,
    defaults: bool = False,
) -> None:
    """event: insert, update, delete or truncate. columns: those assigned to; None when all or unknown. defaults: an
    update sets a column to DEFAULT."""
    facts = context.facts
    key = ("write", relation.oid, event, context.via, None if columns is None else tuple(sorted(columns)), defaults)
    if key in facts.expanded or context.too_deep:
        return
    facts.expanded.add(key)
    facts.verb(f"sql.{event}")
    facts.access(relation, event, context.via)
    if event in {"insert", "update"}:
        for column in relation.columns:
            if columns is None or column.name in columns:
                relations.mark(context, relation, column, "write")
    if relation.kind == "foreign-table":
        relations.afar(context, relation, event)
    if relation.catalog:
        facts.verb("sql.system")
    if relation.row_security:
        relations.policies(context, relation)
    _rules(context, relation, event)
    _triggers(context, relation, event)
    if relation.kind == "view":
        _through_view(context, relation, event, columns, defaults=defaults)
        return
    computed(context, relation, event, defaults=defaults)
    relations.family(context, relation, event)
    for oid in relations.descendants(context, relation.oid):
        child = context.catalog.relation(oid)
        if child is not None:
            _triggers(context, child, event)
            if event == "update" and relation.kind == "partitioned-table":
                # a row that moves to another partition is deleted here and inserted there
                _triggers(context, child, "delete")
                _triggers(context, child, "insert")
            computed(context, child, event)
            _foreign_keys(context, child, event, columns)
    _foreign_keys(context, relation, event, columns)


def computed(context: Context, relation: Relation, event: str, *, defaults: bool = False) -> None:
    """What the target computes for a row that it stores."""
    kinds = (*_EXPRESSIONS[event], "default") if defaults else _EXPRESSIONS[event]
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind in kinds:
            expressions.stored(context.inner(expression.kind), expression.text, relation=relation)


def _triggers(context: Context, relation: Relation, event: str) -> None:
    for trigger in context.catalog.triggers.get(relation.oid, ()):
        if not trigger.fires(event):
            continue
        function = context.catalog.function(trigger.function)
        inner = context.inner("trigger")
        if function is not None:
            functions.use(inner, [function], "trigger")
        if trigger.conditional and (function is None or function.builtin):
            context.facts.doubt("procedural-trigger", f"condition of trigger {trigger.name}")


def _rules(context: Context, relation: Relation, event: str) -> None:
    """The actions of rewrite rules, OLD and NEW as rows whose columns are computed ones."""
    for rule in context.catalog.rules.get(relation.oid, ()):
        if rule.event != _RULE_EVENT.get(event) or rule.enabled == "D":
            continue
        context.facts.not_covered.setdefault(f"which rows rule {rule.name} acts on", None)
        inner = context.inner("rule", path=context.catalog.printed_path)
        try:
            parsed = stored_tree(context, rule.text)
            body = parsed["stmts"][0]["stmt"]["RuleStmt"]
        except (ParseError, orjson.JSONDecodeError, KeyError, IndexError):
            context.facts.doubt("procedural-rule", f"rule {rule.name}")
            continue
        row = _row(context, relation)
        scope = Scope(columns=[], sources=[Source("old", row), Source("new", row)])
        context.facts.infer(expressions.walk(inner, body.get("whereClause"), scope).sources, "where")
        for action in body.get("actions", []):
            kind, node = unwrap(action)
            statements.nested(inner, kind, node, scope)


def _row(context: Context, relation: Relation) -> list[OutColumn]:
    """OLD or NEW: a view's columns touch those of the tables below."""
    if relation.kind == "view":
        return [
            OutColumn(column.name, None, None, column.touched, column.value)
            for column in relations.view(context, relation)
        ]
    return [
        OutColumn(
            column.name,
            None,
            None,
            ((relation, column),),
            Value({(relation.oid, column.attnum): COPY}, column.type_oid),
        )
        for column in relation.columns
    ]


def _foreign_keys(context: Context, relation: Relation, event: str, columns: Collection[str] | None) -> None:
    catalog = context.catalog
    if event in {"insert", "update"}:
        for key in catalog.foreign_keys_of.get(relation.oid, ()):
            parent = catalog.relation(key.parent)
            if parent is not None and key.enforced:
                context.facts.access(parent, "read", "foreign-key")
    if event not in {"update", "delete"}:
        return
    names = {column.attnum: column.name for column in relation.columns}
    for key in catalog.foreign_keys_to.get(relation.oid, ()):
        child = catalog.relation(key.child)
        if child is None or not key.enforced:
            continue
        if (
            event == "update"
            and columns is not None
            and not {names.get(n, "") for n in key.parent_columns} & set(columns)
        ):
            continue
        action = key.on_delete if event == "delete" else key.on_update
        if action in {"a", "r"}:
            context.facts.access(child, "read", "foreign-key")
            continue
        inner = context.inner("cascade")
        changed = (event == "delete" and key.set_columns) or key.child_columns
        touched = [column.name for column in child.columns if column.attnum in changed]
        if action == "c" and event == "delete":
            write(inner, child, "delete")
            flows.probed(inner, child, "delete", [], None)
        else:
            write(inner, child, "update", touched)
            flows.probed(inner, child, "update", [], set(touched))
            if action == "d":
                _computed_defaults(inner, child)


def _computed_defaults(context: Context, relation: Relation) -> None:
    for expression in context.catalog.expressions.get(relation.oid, ()):
        if expression.kind == "default":
            expressions.stored(context.inner("default"), expression.text, relation=relation)


def _through_view(
    context: Context, relation: Relation, event: str, columns: Collection[str] | None, *, defaults: bool
) -> None:
    """A simple view passes its writes on to the table below; a view that can't fails on the server."""
    below: dict[int, tuple[Relation, set[str]]] = {}
    source = _only_source(context, relation)
    if source is not None:
        below[source.oid] = (source, set())
    for column in relations.view(context, relation):
        if column.base is None or (len(column.touched) > 1 and column.touched[1][0].kind == "view"):
            base = next((item for item in column.touched[1:]), None)
        else:
            base = column.base
        if base is None:
            continue
        names = below.setdefault(base[0].oid, (base[0], set()))[1]
        if columns is None or column.name in columns:
            names.add(base[1].name)
    inner = context.inner("view")
    if defaults:
        _computed_defaults(context, relation)  # a view's own (ALTER VIEW … SET DEFAULT)
    for base_relation, names in below.values():
        write(inner, base_relation, event, None if columns is None else names, defaults=defaults)


def _only_source(context: Context, relation: Relation) -> Relation | None:
    """The table of a view over one table, which can be written through even where no column is a copy of its own."""
    text = next((rule.text for rule in context.catalog.rules.get(relation.oid, ()) if rule.name == "_RETURN"), "")
    try:
        items = stored_tree(context, text)["stmts"][0]["stmt"]["SelectStmt"]["fromClause"]
    except (ParseError, orjson.JSONDecodeError, KeyError, IndexError):
        return None
    kind, table = unwrap(items[0])
    if len(items) != 1 or kind != "RangeVar":
        return None
    inner = context.inner("view", path=context.catalog.printed_path)
    return inner.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
