"""DDL: the objects a definition names, the functions it may run, the queries it holds; DROP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from enforcers.postgres.describe import casts, effects, flows, functions, queries, references, relations, unlabelling
from enforcers.postgres.describe.context import Context, Node, Scope, strings, unwrap

_CREATE = frozenset(
    [
        "CreateStmt",
        "CreateSchemaStmt",
        "CreateSeqStmt",
        "CreateDomainStmt",
        "CreateEnumStmt",
        "CreateRangeStmt",
        "CompositeTypeStmt",
        "DefineStmt",
        "CreateFunctionStmt",
        "CreateCastStmt",
        "CreateConversionStmt",
        "CreateOpClassStmt",
        "CreateOpFamilyStmt",
        "CreateTransformStmt",
        "CreatePolicyStmt",
        "CreateStatsStmt",
        "CreateTrigStmt",
        "IndexStmt",
        "RuleStmt",
        "ViewStmt",
        "CreateForeignTableStmt",
    ]
)
_ALTER = frozenset(
    [
        "AlterTableStmt",
        "AlterDomainStmt",
        "AlterEnumStmt",
        "AlterFunctionStmt",
        "AlterCollationStmt",
        "AlterObjectDependsStmt",
        "AlterObjectSchemaStmt",
        "AlterOpFamilyStmt",
        "AlterOperatorStmt",
        "AlterOwnerStmt",
        "AlterPolicyStmt",
        "AlterSeqStmt",
        "AlterStatsStmt",
        "AlterTSConfigurationStmt",
        "AlterTSDictionaryStmt",
        "AlterTypeStmt",
        "RenameStmt",
        "AlterTableMoveAllStmt",
        "AlterExtensionContentsStmt",
    ]
)
_SYSTEM = frozenset(
    [
        "AlterDatabaseRefreshCollStmt",
        "AlterDatabaseSetStmt",
        "AlterDatabaseStmt",
        "AlterEventTrigStmt",
        "AlterExtensionStmt",
        "AlterFdwStmt",
        "AlterForeignServerStmt",
        "AlterPublicationStmt",
        "AlterSubscriptionStmt",
        "AlterSystemStmt",
        "AlterTableSpaceOptionsStmt",
        "AlterUserMappingStmt",
        "CheckPointStmt",
        "CreateAmStmt",
        "CreateEventTrigStmt",
        "CreateExtensionStmt",
        "CreateFdwStmt",
        "CreateForeignServerStmt",
        "CreatePLangStmt",
        "CreatePublicationStmt",
        "CreateSubscriptionStmt",
        "CreateTableSpaceStmt",
        "CreateUserMappingStmt",
        "CreatedbStmt",
        "DropSubscriptionStmt",
        "DropTableSpaceStmt",
        "DropUserMappingStmt",
        "DropdbStmt",
        "ImportForeignSchemaStmt",
        "LoadStmt",
    ]
)
_ROLE = frozenset(["CreateRoleStmt", "AlterRoleStmt", "AlterRoleSetStmt", "DropRoleStmt"])
_GRANT = frozenset(["GrantStmt", "GrantRoleStmt", "AlterDefaultPrivilegesStmt", "ReassignOwnedStmt"])
_SINGLE = frozenset(
    [
        "CreatedbStmt",
        "DropdbStmt",
        "CreateTableSpaceStmt",
        "DropTableSpaceStmt",
        "AlterSystemStmt",
        "CreateSubscriptionStmt",
        "DropSubscriptionStmt",
    ]
)
_DROPS_TABLES = frozenset(
    ["OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_INDEX", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE"]
)
# Databases, tablespaces, subscriptions and user mappings are dropped by statements of their own (_SYSTEM).
_DROPS_SYSTEM = frozenset(
    [
        "OBJECT_EXTENSION",
        "OBJECT_LANGUAGE",
        "OBJECT_FDW",
        "OBJECT_FOREIGN_SERVER",
        "OBJECT_PUBLICATION",
        "OBJECT_EVENT_TRIGGER",
        "OBJECT_ACCESS_METHOD",
    ]
)

FAMILIES: tuple[tuple[frozenset[str], str], ...] = (
    (_CREATE, "sql.create"),
    (_ALTER, "sql.alter"),
    (_SYSTEM, "sql.system"),
    (_ROLE, "sql.role"),
    (_GRANT, "sql.grant"),
)
KINDS: frozenset[str] = frozenset(name for kinds, _ in FAMILIES for name in kinds)


def event_triggers(context: Context) -> None:
    for oid in context.catalog.event_triggers:
        function = context.catalog.function(oid)
        name = function.name if function else str(oid)
        context.facts.doubt("event-trigger", name)


def _everywhere(node: Any, wanted: str) -> Iterator[Node]:
    """Every node of a kind, wherever it stands; also the fields that hold a RangeVar without its kind."""
    if isinstance(node, list):
        for item in node:
            yield from _everywhere(item, wanted)
    elif isinstance(node, dict):
        for key, value in node.items():
            if (key == wanted and isinstance(value, dict)) or (
                wanted == "RangeVar" and isinstance(value, dict) and "relname" in value and key != "RangeVar"
            ):
                yield value
            yield from _everywhere(value, wanted)


def _resolve_objects(context: Context, tables: list[Node], created: Node | None) -> list[bool]:
    """Record each named relation as changed by DDL; for each, is it temporary?"""
    temporary = []
    for table in tables:
        if table is created:
            temporary.append(table.get("relpersistence") == "t" or table.get("schemaname") == "pg_temp")
            continue
        relation = relations.lookup(context, table)
        if relation is not None:
            context.facts.access(relation, "ddl", context.via)
            if relation.kind == "foreign-table":
                relations.afar(context, relation, "ddl")
            temporary.append(relation.temporary)
        else:
            temporary.append(False)
    return temporary


_HELD = ("query", "actions", "schemaElts")  # what runs later, when the object is used
_MAY_BE_TEMPORARY = frozenset(
    ["CreateStmt", "ViewStmt", "CreateSeqStmt", "IndexStmt", "AlterTableStmt", "RenameStmt", "AlterSeqStmt"]
)
_CHANGES_NAMES = frozenset(
    ["RenameStmt", "AlterObjectSchemaStmt", "CreateSchemaStmt", "CreateRoleStmt", "AlterRoleStmt", "DropRoleStmt"]
)


def define(context: Context, kind: str, body: Node, scope: Scope, *, verb: str) -> None:
    """DDL: the objects it names, the functions it may run, the queries it holds."""
    facts = context.facts
    facts.ddl = facts.writes = True
    temporary = _resolve_objects(context, _named_tables(body), _created(kind, body))
    if kind in _MAY_BE_TEMPORARY and temporary and all(temporary) and verb in {"sql.create", "sql.alter"}:
        verb = "sql.temporary"
        facts.makes_temporary = facts.changes_names = True
    facts.verb(verb)
    if _names_temporary_schema(body):
        facts.makes_temporary = facts.changes_names = True
    if kind in _CHANGES_NAMES:
        facts.changes_names = True
    if verb != "sql.role":
        event_triggers(context)
    if kind not in {"CreateFunctionStmt", "ViewStmt", "RuleStmt"}:
        inner = context.inner("check") if context.via == "direct" else context
        _computed(inner, kind, body, scope)
    _held_queries(context, kind, body, scope)
    moves = _MOVES.get(kind)
    if moves is not None:
        moves(context, body, scope)
    _loose_ends(context, kind, body)


_MOVES: dict[str, Callable[[Context, Node, Scope], None]] = {
    "AlterObjectSchemaStmt": unlabelling.moved,
    "AlterTableStmt": unlabelling.altered,
    "RenameStmt": unlabelling.renamed,
}


def _computed(context: Context, kind: str, body: Node, scope: Scope) -> None:
    """Expressions that a definition holds may run at once: functions, operators, casts of a user's own."""
    for call in _everywhere(body, "FuncCall"):
        functions.call(context, call, scope)
    for operator in _everywhere(body, "A_Expr"):
        names = strings(operator.get("name"))
        for function in context.operator_functions(names[-1], names[-2] if len(names) > 1 else ""):
            functions.use(context, [function], "operator")
    for cast in _everywhere(body, "TypeCast"):
        casts.type_name(context, cast.get("typeName") or {}, scope)
    _probed(context, kind, body)
    if kind != "AlterTableStmt" or not any(
        str(command.get("subtype")) in _REWRITES for command in _everywhere(body, "AlterTableCmd")
    ):
        return
    for name in _everywhere(body, "typeName"):
        casts.type_name(context, name, scope)
    table = body.get("relation") or {}
    relation = context.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
    for oid in [relation.oid, *relations.descendants(context, relation.oid)] if relation is not None else []:
        stored = context.catalog.relation(oid)
        if stored is not None:
            for column in stored.columns:
                found = context.catalog.type(column.type_oid)
                if found is not None:
                    functions.touch_type(context, found, via="type")
            effects.computed(context, stored, "insert")
            # What is wrong with a row that is there shows as an error.
            context.facts.infer({(oid, column.attnum): "" for column in stored.columns}, "constraint")


def _probed(context: Context, kind: str, body: Node) -> None:
    """A unique index, or one over an expression, fails on what is there; a foreign key on what isn't."""
    if kind == "IndexStmt":
        _any_column(context, body.get("relation") or {})
    for constraint in _everywhere(body, "Constraint"):
        _any_column(context, constraint.get("pktable") or {})


def _any_column(context: Context, table: Node) -> None:
    relation = context.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
    if relation is not None:
        context.facts.infer({(relation.oid, column.attnum): "" for column in relation.columns}, "constraint")


# Subcommands of ALTER TABLE that compute on the rows already there.
_REWRITES = frozenset(
    ["AT_AddColumn", "AT_AlterColumnType", "AT_AddConstraint", "AT_ValidateConstraint", "AT_SetExpression",
     "AT_AttachPartition", "AT_AddIdentity", "AT_SetAccessMethod", "AT_SetLogged", "AT_SetUnLogged", "AT_SetNotNull"]
)  # fmt: skip


def _names_temporary_schema(node: Any) -> bool:
    """pg_temp is named anywhere: a type made there is found before pg_catalog's."""
    if isinstance(node, list):
        return any(_names_temporary_schema(item) for item in node)
    if isinstance(node, dict):
        return any(_names_temporary_schema(item) for item in node.values())
    return isinstance(node, str) and node.startswith("pg_temp")


def _created(kind: str, body: Node) -> Node | None:
    """The RangeVar of what does not exist yet."""
    if kind == "CreateForeignTableStmt":
        found = (body.get("base") or {}).get("relation")
    else:
        field = {
            "CreateStmt": "relation",
            "ViewStmt": "view",
            "CreateSeqStmt": "sequence",
            "CompositeTypeStmt": "typevar",
        }
        found = body.get(field.get(kind, ""))
    return found if isinstance(found, dict) else None


def _named_tables(body: Node) -> list[Node]:
    """Every relation named outside of the queries that are only held."""
    found: list[Node] = []
    for key, value in body.items():
        if key in _HELD:
            continue
        if isinstance(value, dict) and "relname" in value:
            found.append(value)
        else:
            found.extend(_everywhere(value, "RangeVar"))
    return found


def _held_queries(context: Context, kind: str, body: Node, scope: Scope) -> None:
    held = [body[name] for name in _HELD if body.get(name)]
    if not held:
        return
    if kind == "ViewStmt":
        columns = queries.query(context, held[0], scope)
        for column in columns:
            references.mark(context, column, "other")
        view = body.get("view", {})
        temporary = view.get("relpersistence") == "t" or view.get("schemaname") == "pg_temp"
        flows.created(context, view, body.get("aliases"), columns, "view", temporary=temporary)
        return
    for table in _everywhere(held, "RangeVar"):
        relation = context.find_relation(str(table.get("relname", "")), str(table.get("schemaname", "")))
        if relation is not None:
            context.facts.access(relation, "ddl", context.via)
    if kind == "CreateSchemaStmt":
        context.facts.doubt("unknown-statement", "CREATE SCHEMA with elements")


def _loose_ends(context: Context, kind: str, body: Node) -> None:
    facts = context.facts
    if kind == "CreateFunctionStmt":
        facts.not_covered["what the function does when it is called"] = None
    if kind in _SINGLE or body.get("concurrent"):
        facts.single_transaction = True
    if kind == "LoadStmt":
        facts.doubt("server-file", "LOAD brings in a library")
    if kind in {"CreateExtensionStmt", "AlterExtensionStmt"}:
        facts.doubt("server-file", "an extension's script runs")
        facts.changes_names = True
    if kind in _NAMES_SERVER:
        _server(context, str(body.get(_NAMES_SERVER[kind], "")), str(body.get("fdwname", "")))
    if kind in {"CreateSubscriptionStmt", "AlterSubscriptionStmt", "ImportForeignSchemaStmt", "DropSubscriptionStmt"}:
        facts.doubt("remote", "another server is reached")
    if kind == "AlterTableStmt":
        for command in _everywhere(body, "AlterTableCmd"):
            if str(command.get("subtype", "")).startswith("AT_Detach") and command.get("def"):
                facts.single_transaction |= bool(unwrap(command["def"])[1].get("concurrent"))


_NAMES_SERVER = {
    "AlterForeignServerStmt": "servername",
    "AlterUserMappingStmt": "servername",
    "CreateForeignServerStmt": "servername",
    "CreateForeignTableStmt": "servername",
    "CreateUserMappingStmt": "servername",
    "DropUserMappingStmt": "servername",
    "ImportForeignSchemaStmt": "server_name",
}


def _server(context: Context, name: str, wrapper: str) -> None:
    """A definition names a foreign server; `wrapper` where it makes it. One that isn't there has no wrapper: ""."""
    server = context.catalog.find_server(name)
    known = context.catalog.wrapper(server.wrapper) if server is not None else None
    context.facts.reach(name, known.name if known is not None else wrapper, "define")


def drop(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    kind = str(body.get("removeType", ""))
    facts.ddl = facts.writes = True
    facts.changes_names = True
    facts.single_transaction = bool(body.get("concurrent"))
    temporary = []
    for item in body.get("objects", []):
        node_kind, value = unwrap(item)
        names = strings(value.get("items")) if node_kind == "List" else [value.get("sval", "")]
        if kind == "OBJECT_SCHEMA":
            _drop_schema(context, names[-1])
        if kind == "OBJECT_FOREIGN_SERVER":
            _server(context, names[-1], "")
        if kind not in _DROPS_TABLES:
            continue
        table = {"relname": names[-1], "schemaname": names[-2] if len(names) > 1 else ""}
        relation = context.find_relation(table["relname"], table["schemaname"])
        if relation is None and body.get("missing_ok"):
            continue
        relation = relations.lookup(context, table)
        if relation is not None:
            facts.access(relation, "ddl", context.via)
            if relation.kind == "foreign-table":
                relations.afar(context, relation, "ddl")
            relations.family(context, relation, "ddl")
        temporary.append(relation is not None and relation.temporary)
    facts.verb("sql.temporary" if temporary and all(temporary) else "sql.drop")
    if kind in _DROPS_SYSTEM:
        facts.verb("sql.system")
    if body.get("behavior") == "DROP_CASCADE":
        facts.not_covered["which dependent objects CASCADE drops"] = None
    event_triggers(context)


def _drop_schema(context: Context, schema: str) -> None:
    for relation in context.catalog.own.relations.values():
        if relation.schema == schema and relation.kind not in {"index", "composite"}:
            context.facts.access(relation, "ddl", context.via)


def drop_owned(context: Context, body: Node, scope: Scope) -> None:
    facts = context.facts
    facts.verb("sql.drop", "sql.grant")
    facts.ddl = facts.writes = facts.changes_names = True
    facts.not_covered["which objects the role owns"] = None
    event_triggers(context)
