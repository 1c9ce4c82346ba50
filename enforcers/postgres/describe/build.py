"""From facts to a Description: the protobuf template in canonical order, the digests, the machine's own facts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from twokey.type.v1 import operation_pb2

from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.describe import labelled
from enforcers.postgres.describe.context import Facts, OutColumn
from enforcers.postgres.describe.digest import encode, number
from enforcers.postgres.describe.lineage import COPY, Key, Sources
from enforcers.postgres.describe.relations import kin
from enforcers.postgres.describe.safe_functions import is_safe
from enforcers.postgres.describe.verify import grounds
from enforcers.postgres.description import Control, Description, SessionNames

_DATA = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_ESTIMATED = _DATA | {"PrepareStmt"}  # what EXECUTE of it would touch


def build(
    facts: Facts,
    columns: Sequence[OutColumn],
    *,
    kind: str,
    command: str,
    text: bytes,
    skeleton: bytes,
    catalog: Catalog,
    names: SessionNames,
) -> Description:
    template = _template(facts, columns, command=command, names=names, catalog=catalog)
    labelled.label(template, catalog, refers=bool(facts.cursor or facts.prepared), renamed=facts.renamed)
    estimate_why = _why_no_estimate(facts, kind)
    # A table that holds other columns' values now is as good as new: what its name means has changed.
    carries = any(flow.carried for flow in template.flows)
    fixed = template.SerializeToString(deterministic=True)
    wire = encode(number(oid) + number(attnum) for column in columns for oid, attnum in [column.wire or (0, 0)])
    rests = grounds(facts, catalog)
    static = hashlib.sha256(
        encode((b"twokey static v1", fixed, names.database.encode(), names.session_role.encode())) + rests.canonical
    ).digest()
    shape = hashlib.sha256(encode((b"twokey shape v1", skeleton, static, wire))).digest()
    return Description(
        text=text,
        template=template,
        shape_digest=shape,
        static_digest=static,
        control=facts.control,
        parameters=facts.parameters,
        writes_or_locks=facts.writes,
        changes_names=facts.changes_names or carries,
        changes_grammar=facts.changes_grammar,
        ddl=facts.ddl,
        makes_temporary=facts.makes_temporary or carries,
        copy_in=facts.copy_in,
        copy_out=facts.copy_out,
        utility=kind not in _DATA,
        single_transaction=facts.single_transaction,
        can_estimate=not estimate_why,
        cannot_estimate_why=estimate_why,
        verification=rests.verification,
        cursor=facts.cursor,
        prepared=facts.prepared,
        wire=tuple(column.wire or (0, 0) for column in columns),
        others=frozenset((oid, attnum) for oid, attnum, use in facts.columns if use == "other"),
        known_rows=facts.most_rows if facts.known_rows is None else facts.known_rows,
        collects=facts.collects,
        output_open=facts.output_open,
        copy_form=facts.copy_form,
        copy_header=facts.copy_header,
        own_setting=facts.own_setting,
        cursor_options=facts.cursor_options,
        savepoint=facts.savepoint,
        chain=facts.chain,
        quotes=labelled.quotes(template, catalog),
    )


def _why_no_estimate(facts: Facts, kind: str) -> str:
    if kind not in _ESTIMATED:
        return "only queries and data changes can be estimated"
    if facts.opaque:
        return "the statement is opaque"
    if facts.control is not Control.NONE:
        return "transaction control"
    return facts.unsafe


def _template(
    facts: Facts, columns: Sequence[OutColumn], *, command: str, names: SessionNames, catalog: Catalog
) -> operation_pb2.SqlOperation:
    returns = facts.returns_rows
    template = operation_pb2.SqlOperation(
        command=command,
        verbs=list(facts.verbs),
        opaque=bool(facts.opaque),
        # ON CONFLICT DO UPDATE, MERGE and cascades have none and change only what their own statement finds.
        has_where=all(facts.wheres) and bool(facts.wheres or {"sql.update", "sql.delete"} & facts.verbs.keys()),
        most_rows=facts.most_rows or 0,
        returns_rows=bool(columns) or facts.output_open if returns is None else returns,
        not_covered=sorted(facts.not_covered),
        search_path=names.search_path,
        effective_role=names.effective_role,
    )
    for code, detail in sorted(facts.opaque):
        template.opaque_reasons.add(code=code, detail=detail)
    for (oid, via), access in sorted(facts.relations.items()):
        relation = facts.seen_relations[oid]
        template.relations.add(
            schema=relation.schema,
            name=relation.name,
            oid=oid,
            kind=relation.kind,
            access=sorted(access),
            via=via,
            temporary=relation.temporary,
            catalog=relation.catalog,
        )
    for (_, _, use), (relation, name) in sorted(facts.columns.items(), key=lambda item: item[0]):
        template.columns.add(schema=relation.schema, relation=relation.name, column=name, use=use)
    for (schema, name, oid, via), (function, safe) in sorted(facts.functions.items(), key=lambda item: item[0]):
        template.functions.add(
            schema=schema,
            name=name,
            oid=oid,
            volatility=function.volatility,
            language=function.language,
            security_definer=function.security_definer,
            leakproof=function.leakproof,
            safe=safe and is_safe(function),
            via=via,
        )
    for (server, wrapper), access in sorted(facts.servers.items()):
        template.servers.add(name=server, wrapper=wrapper, access=sorted(access))
    for setting, action, value in sorted(facts.settings):
        template.settings.add(name=setting, action=action, value=value)
    known = Names(catalog)
    _lineage(template, facts, columns, known)
    _literals(template, facts, known)
    return template


def _lineage(template: operation_pb2.SqlOperation, facts: Facts, columns: Sequence[OutColumn], known: Names) -> None:
    """What the columns of the result come from, what else is told, and what is stored where."""
    for column in columns if facts.shown is None else facts.shown:
        output = template.output.add(name=column.name)
        if column.base is not None:
            relation, base = column.base
            output.origin.schema = relation.schema
            output.origin.relation = relation.name
            output.origin.column = base.name
            output.origin.relation_oid = relation.oid
            output.origin.attribute = base.attnum
        for schema, relation_name, name, way in known.of(column.value.sources):
            output.sources.add(schema=schema, relation=relation_name, column=name, **_through(way))
    for key, kind, told in sorted(facts.inferences):
        for schema, relation_name, name in known.every(key):
            template.inferences.add(schema=schema, relation=relation_name, column=name, kind=kind, function=told)
    for (key, target, kind, temporary), way in sorted(facts.flows.items()):
        for schema, relation_name, name in known.every(key):
            flow = template.flows.add(kind=kind, temporary=temporary, through=_through(way)["through"])
            flow.source.schema, flow.source.relation, flow.source.column = schema, relation_name, name
            flow.target.schema, flow.target.relation, flow.target.column = target


def _literals(template: operation_pb2.SqlOperation, facts: Facts, known: Names) -> None:
    constants, parameters = facts.known_literals
    for place, keys in sorted(constants.items()):
        _named(template.literals.add(constant=place), keys, known)
    for parameter, met in sorted(parameters.items()):
        _named(template.literals.add(parameter=parameter), met, known)


def _named(literal: operation_pb2.Literal, keys: Collection[Key], known: Names) -> None:
    for key in sorted(keys):
        for schema, relation_name, name in known.every(key):
            literal.columns.add(schema=schema, relation=relation_name, column=name)


def _through(way: str) -> dict[str, str]:
    if way == COPY:
        return {"through": "copy"}
    return {"through": "tells", "function": way} if way else {"through": "safe"}


class Names:
    """Every name that a stored column is known by: its own, its parents', its partitions' and children's; of a
    session's temporary table those of the columns whose values it holds.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[Key, list[tuple[str, str, str]]] = {}

    def every(self, key: Key) -> list[tuple[str, str, str]]:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._look_up(key)
        return found

    def _look_up(self, key: Key) -> list[tuple[str, str, str]]:
        relation = self._catalog.relation(key[0])
        column = next((item for item in relation.columns if item.attnum == key[1]), None) if relation else None
        if relation is None or column is None:
            return []
        found = [(relation.schema, relation.name, column.name)]
        for other in kin(self._catalog, relation.oid):
            if column.name in other.by_name:
                found.append((other.schema, other.name, column.name))
        found += [name for name in self._catalog.origins.get(key, ()) if name not in found]
        return found

    def of(self, sources: Sources) -> list[tuple[str, str, str, str]]:
        return [(*name, way) for key, way in sources.items() for name in self.every(key)]
