"""What calling a function sets off: its language, what an SQL body does, what a built-in one is known to do.

A call is resolved by name and number of arguments only. Types could narrow the choice further; instead every
candidate counts, and the worst of them is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from pglast.parser import ParseError, parse_sql_json

from enforcers.postgres.catalog.objects import Function, Type
from enforcers.postgres.catalog.queries import FIRST_USER_OID
from enforcers.postgres.describe import expressions, statements
from enforcers.postgres.describe.context import Context, Inlined, Node, OutColumn, Scope, quoted, strings, unwrap
from enforcers.postgres.describe.foreign import stored_tree
from enforcers.postgres.describe.lineage import NOTHING, Value
from enforcers.postgres.describe.safe_functions import builtin_effect, is_safe
from enforcers.postgres.describe.settings import touch_setting, value_matters

MAX_INLINED = 200  # bodies of SQL functions, each as often as its arguments differ
_JSON = frozenset({114, 3802})  # to_json and its kin look for any cast to json or jsonb
_VOLATILITY = {"immutable": 0, "stable": 1, "volatile": 2}


def call(context: Context, node: Node, scope: Scope, *, via: str = "", procedure: bool = False) -> list[Function]:
    """A FuncCall node: its candidates' effects. Arguments are walked by the caller."""
    parts = strings(node.get("funcname"))
    name, schema = parts[-1], parts[-2] if len(parts) > 1 else ""
    arguments = node.get("args", [])
    count = -1 if node.get("func_variadic") else len(arguments)
    if node.get("agg_within_group"):
        count = len(arguments) + len(node.get("agg_order", []))
    candidates = context.candidates(name, schema, count, procedures=procedure)
    if not candidates:
        _not_a_function(context, name, schema, arguments)
        return []
    use(context, candidates, via or (context.via if context.via != "direct" else "direct"))
    if any(candidate.builtin and candidate.schema == "pg_catalog" for candidate in candidates):
        _named_effects(context, name, arguments)
    return candidates


def _not_a_function(context: Context, name: str, schema: str, arguments: Sequence[Node]) -> None:
    """f(x) may also be a cast, or column f of the row x (whose walk already counted the whole row)."""
    found = context.find_type(name, schema)
    if found is not None and len(arguments) == 1:
        touch_type(context, found, via="cast")
        return
    if len(arguments) != 1 or schema or not _may_have(context, arguments[0], name):
        context.facts.doubt("unresolved", f"function {quoted(schema, name)}")


def _may_have(context: Context, row: Node, name: str) -> bool:
    """May it be a row with a column of that name? A cast says of which type it is."""
    kind, body = unwrap(row)
    if kind != "TypeCast":
        return kind == "ColumnRef"
    named = body.get("typeName") or {}
    names = strings(named.get("names"))
    found = context.find_type(names[-1], names[-2] if len(names) > 1 else "") if names else None
    relation = context.catalog.relation(found.relation) if found is not None and found.kind == "c" else None
    return relation is not None and not named.get("arrayBounds") and name in relation.by_name


_COLLECTS = frozenset(
    ["array_agg", "string_agg", "xmlagg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg",
     "range_agg", "json_agg_strict", "jsonb_agg_strict", "json_object_agg_strict", "jsonb_object_agg_strict",
     "json_object_agg_unique", "jsonb_object_agg_unique", "json_object_agg_unique_strict",
     "jsonb_object_agg_unique_strict"]
)  # fmt: skip


def use(context: Context, candidates: Sequence[Function], via: str) -> None:
    """Any of these may run."""
    facts = context.facts
    facts.volatile = facts.volatile or any(item.volatility == "volatile" for item in candidates)
    worst = max(candidates, key=lambda item: (not is_safe(item), _VOLATILITY[item.volatility], item.language))
    safe = all(is_safe(item) for item in candidates)
    key = (worst.schema, worst.name, worst.oid if len(candidates) == 1 else 0, via)
    if not (safe and via in {"operator", "cast"}):
        known = facts.functions.get(key)
        if known is None or not safe:
            facts.functions[key] = (worst, safe)
    if not safe and not facts.unsafe:
        facts.unsafe = f"{worst.schema}.{worst.name} is not on the list of safe functions"
    for candidate in candidates:
        effects(context, candidate)


def use_own(context: Context, name: str) -> None:
    """A function of one argument may be meant, of those that users made."""
    for function in context.candidates(name, "", 1):
        if not function.builtin:
            use(context, [function], "direct")


def effects(context: Context, function: Function) -> None:
    """What running this one function may do, once per statement and way of reaching it."""
    facts = context.facts
    key = ("function", function.oid, context.via, context.path)
    if key in facts.expanded:
        return
    facts.expanded.add(key)
    facts.functions_used[function.oid] = function
    if function.kind == "a" and (not function.builtin or function.name in _COLLECTS):
        facts.collects = True
    label = f"{function.schema}.{function.name}()"
    if function.default_text and not function.builtin:
        expressions.stored(
            context.inner("function" if context.via == "direct" else context.via), function.default_text, relation=None
        )
    if function.builtin:
        verb, code = builtin_effect(function)
        if verb:
            facts.verb(verb)
            facts.writes = True
        if code:
            facts.doubt(code, label)
        return
    if function.kind in {"a", "w"} and function.language == "internal":
        inner = [context.catalog.function(oid) for oid in context.catalog.aggregate_support(function.oid)]
        facts.enter()
        for support in inner:
            if support is not None and not is_safe(support):
                use(context, [support], "aggregate")
        facts.nested -= 1
        return
    if function.language == "sql":
        expand(context, function, {})
        return
    code = "untrusted-function" if function.language in {"c", "internal"} else context.procedural()
    facts.doubt(code, label)
    facts.ddl = facts.changes_names = facts.writes = True  # nobody can say that it doesn't
    facts.not_covered[f"what {label} does inside"] = None


def expand(context: Context, function: Function, bound: Mapping[str, Value]) -> list[OutColumn]:
    """An SQL function does what its statements do, under its own search_path where it sets one.

    bound: what the parameters depend on, by name and as `$1`. The columns are those of its last statement.
    """
    facts = context.facts
    given = frozenset((name, key, way) for name, value in bound.items() for key, way in value.sources.items())
    memo = (function.oid, context.via, context.path, given)
    known = facts.inlined.get(memo)
    if known is not None:
        facts.volatile = facts.volatile or known.volatile
        for key, kind, told in known.inferences:
            facts.infer({key: ""}, kind, told)
        for column, marked in known.marks:
            facts.columns.setdefault(column, marked)
        return known.columns
    label = f"{function.schema}.{function.name}()"
    if function.oid in facts.inlining:
        facts.doubt("too-complex", f"{label} calls itself")
        return []
    if context.too_deep or len(facts.inlined) > MAX_INLINED:
        facts.doubt("too-complex", "functions call functions too often")
        return []
    before, volatile, read = facts.inferences, facts.volatile, len(facts.columns)
    facts.inferences, facts.volatile = {}, False
    facts.inlining.add(function.oid)
    columns = _statements(context, function, label, bound)
    facts.inlining.discard(function.oid)
    facts.inlined[memo] = Inlined(
        columns, tuple(facts.inferences), facts.volatile, tuple(islice(facts.columns.items(), read, None))
    )
    before.update(facts.inferences)
    facts.inferences, facts.volatile = before, facts.volatile or volatile
    return columns


def _statements(context: Context, function: Function, label: str, bound: Mapping[str, Value]) -> list[OutColumn]:
    facts = context.facts
    if function.configured:
        facts.doubt(context.procedural(), f"{label} changes settings")
    path = context.path
    if function.search_path is not None:
        named = tuple(item for item in function.search_path if item != "$user")
        if "$user" in function.search_path:
            facts.doubt("unresolved", f"{label} looks names up in $user")
        path = named if "pg_catalog" in named else ("pg_catalog", *named)
    source = function.source
    wrapped = source.lstrip()[:6].upper() in {"BEGIN ", "RETURN"} or source.lstrip()[:5].upper() == "BEGIN"
    if wrapped:
        source = f"CREATE FUNCTION f() RETURNS int LANGUAGE sql {source}"
        path = context.catalog.printed_path
    try:
        parsed = stored_tree(context, source)
    except (ParseError, orjson.JSONDecodeError):
        facts.doubt(context.procedural(), f"{label} can't be parsed")
        return []
    inner = context.inner(context.via if context.via != "direct" else "function", path=path)
    unnamed = {name: NOTHING for name in function.argument_names if name}
    scope = Scope(parameters={**unnamed, **bound})
    columns: list[OutColumn] = []
    for statement in parsed.get("stmts", []):
        body = statement.get("stmt", {})
        for part in _bodies(body) if wrapped else [body]:
            kind, node = unwrap(part)
            if kind == "ReturnStmt":
                columns = [OutColumn("", value=expressions.walk(inner, node.get("returnval"), scope))]
            else:
                columns = statements.nested(inner, kind, node, scope)
    return columns


def _bodies(node: Any) -> list[Node]:
    """The statements of BEGIN ATOMIC … END or RETURN, however nested in lists."""
    kind, body = unwrap(node)
    if kind == "CreateFunctionStmt":
        return _bodies(body.get("sql_body", {}))
    if kind == "List":
        return [item for part in body.get("items", []) for item in _bodies(part)]
    return [node] if kind else []


def touch_type(context: Context, found: Type, *, via: str) -> None:
    """A value of this type is made or shown: input and output functions, domain checks, elements, fields."""
    facts = context.facts
    if found.oid in facts.types:
        return
    facts.types.add(found.oid)
    if found.oid < FIRST_USER_OID:
        return
    facts.enter()
    for oid in found.functions:
        function = context.catalog.function(oid)
        if function is not None and not function.builtin:
            use(context, [function], "type")
    for check in context.catalog.domain_checks(found.oid):
        expressions.stored(context.inner("check"), check.text, relation=None)
    for oid in (found.base, found.element):
        inner = context.catalog.type(oid) if oid else None
        if inner is not None:
            touch_type(context, inner, via=via)
    relation = context.catalog.relation(found.relation) if found.kind == "c" else None
    if relation is not None:
        for column in relation.columns:
            inner = context.catalog.type(column.type_oid)
            if inner is not None:
                touch_type(context, inner, via=via)
    facts.nested -= 1


def cast_to(context: Context, found: Type) -> None:
    """Something is cast to this type explicitly; to what a domain is over first."""
    inner: Type | None = found
    while inner is not None:
        context.facts.casts.add(inner.oid)
        inner = context.catalog.type(inner.base) if inner.kind == "d" else None


def user_casts(context: Context) -> None:
    """Casts that a user defined, written here or added by the server, between types that this statement touches.

    Asked last.
    """
    facts = context.facts
    done: set[int] = set()
    while True:
        due = [
            cast
            for cast in context.catalog.own.casts
            if (cast.context != "e" or cast.target in _JSON or cast.target in facts.casts)
            and cast.method == "f"
            and cast.function not in done
            and all(oid < FIRST_USER_OID or oid in facts.types for oid in (cast.source, cast.target))
        ]
        if not due:
            return
        for cast in due:
            done.add(cast.function)
            function = context.catalog.function(cast.function)
            if function is not None:
                use(context, [function], "cast")


def constant_text(node: Node | None) -> str | None:
    """The value of a string constant, casts of constants included; None when it isn't one."""
    kind, body = unwrap(node or {})
    if kind == "TypeCast":
        return constant_text(body.get("arg"))
    if kind == "A_Const" and "sval" in body:
        return str(body["sval"].get("sval", ""))
    return None


def plain_text(node: Node | None) -> str | None:
    """A string constant that is used as it is written: not through a cast that could make another text of it."""
    kind, body = unwrap(node or {})
    if kind == "TypeCast":
        wanted = body.get("typeName", {})
        plain = strings(wanted.get("names")) in (["text"], ["pg_catalog", "text"])
        return plain_text(body.get("arg")) if plain and not wanted.get("arrayBounds") else None
    return constant_text(node) if kind == "A_Const" else None


def _setting_name(context: Context, node: Node) -> str | None:
    """What set_config sets: a constant, or the one row of pg_settings that the whole query finds (as pg_dump asks)."""
    kind, body = unwrap(node)
    if kind == "ColumnRef" and strings(body.get("fields")) == ["name"] and context.top:
        return context.facts.setting_found
    return plain_text(node)


def _named_effects(context: Context, name: str, arguments: Sequence[Node]) -> None:
    facts = context.facts
    if name in {"nextval", "setval"}:
        if context.via != "default":
            facts.verb("sql.sequence")
        facts.writes = True
        _sequence(context, constant_text(arguments[0]) if arguments else None)
    elif name == "set_config" and len(arguments) == 3:
        setting, value = _setting_name(context, arguments[0]), plain_text(arguments[1])
        local = unwrap(arguments[2])[1].get("boolval")
        facts.verb("sql.set")
        if setting is None or (value is None and value_matters(setting)):
            facts.doubt("dynamic-setting", "set_config of a name or value that isn't a constant")
            facts.changes_names = True
        if setting is not None:
            action = "set-local" if local is not None and local.get("boolval") else "set"
            touch_setting(context, setting, action, value or "")
    elif name == "current_setting" and arguments:
        setting = constant_text(arguments[0])
        touch_setting(context, "*" if setting is None else setting, "show", "")


def _sequence(context: Context, written: str | None) -> None:
    facts = context.facts
    parts = _split_name(written) if written is not None else None
    if not parts:
        facts.doubt("dynamic-name", "a sequence named by a value")
        return
    relation = context.find_relation(parts[-1], parts[-2] if len(parts) > 1 else "")
    if relation is None:
        facts.doubt("unresolved", f"sequence {quoted(*parts)}")
        return
    facts.access(relation, "update", context.via)


def _split_name(text: str) -> list[str] | None:
    """A written name as regclass reads it: a.b, "a"."b". None for what isn't plainly one (an oid, for example)."""
    try:
        parsed = orjson.loads(parse_sql_json(f"TABLE {text}"))
    except ParseError:
        return None
    if len(parsed.get("stmts", [])) != 1:
        return None
    body = parsed["stmts"][0]["stmt"].get("SelectStmt", {})
    sources = body.get("fromClause", [])
    if len(sources) != 1 or set(body) - {"targetList", "fromClause", "limitOption", "op"}:
        return None
    table = sources[0].get("RangeVar", {})
    if "alias" in table or not table.get("inh"):
        return None
    return [part for part in (table.get("schemaname", ""), table.get("relname", "")) if part]
