"""What EXECUTE, FETCH and MOVE do: the statements a session has prepared, and the cursors it has declared.

By itself the text `EXECUTE p(1)` or `FETCH 5 FROM c` says nothing, so it is described as opaque (prepared-unknown,
cursor-unknown). Here it inherits what it names.

Prepared statements outlive transactions and are never rolled back, so which text a name has can be followed exactly:
`prepared` holds it as it will be once everything sent has succeeded, `_prepared_sure` as the target has confirmed it.
Where neither knows (something opaque ran, a function prepared it) the target is asked (`pg_prepared_statements`). What
a prepared statement means is described anew at every EXECUTE, under the names and catalog of that moment, as the
target plans it anew.

Cursors keep the plan they were declared with, and savepoints can bring back either of two of one name; so a name has
*candidates*, never fewer than could be meant, and its FETCH reads what any of them reads.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from hashlib import sha256

from pglast.parser import ParseError, scan
from twokey.type.v1 import operation_pb2

from enforcers.core.ports import Gate
from enforcers.postgres.commands import Command
from enforcers.postgres.describing import Describer
from enforcers.postgres.description import Description, SyntaxProblem, Verification
from enforcers.postgres.machine_base import Internal
from enforcers.postgres.machine_private import Private
from enforcers.postgres.machine_state import RESERVED, Capture, Statement
from enforcers.postgres.named_columns import named

MAX_NAMES = 1000  # of prepared statements, and of cursors; what is forgotten is asked again, or stays opaque
MAX_PREPARED_BYTES = 16 * 1024 * 1024
MAX_CANDIDATES = 8
HOLD = 0x20  # CURSOR_OPT_HOLD and CURSOR_OPT_BINARY of src/include/nodes/parsenodes.h
BINARY = 0x01
_PREPARED_SQL = (
    "SELECT p.statement, p.from_sql::pg_catalog.text,"
    " pg_catalog.array_to_string(p.parameter_types::pg_catalog.oid[], ' ')"
    " FROM pg_catalog.pg_prepared_statements p WHERE p.name OPERATOR(pg_catalog.=) $1::pg_catalog.text"
)
# Of the types named and all they are made of: those whose input runs what users wrote (a domain's check included).
_TYPES_SQL = (
    "WITH RECURSIVE used(type) AS (SELECT u.type FROM pg_catalog.unnest($1::pg_catalog.oid[]) u(type)"
    " UNION SELECT n.type FROM used"
    " JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) used.type"
    " CROSS JOIN LATERAL (SELECT t.typelem UNION ALL SELECT t.typbasetype"
    " UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid"
    " AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
    " UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid"
    " OR r.rngmultitypid OPERATOR(pg_catalog.=) t.oid) n(type)"
    " WHERE n.type OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)"
    " SELECT pg_catalog.count(*)::pg_catalog.text FROM used"
    " JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) used.type"
    " WHERE t.typinput::pg_catalog.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"
    " OR t.typreceive::pg_catalog.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"
    " OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid OPERATOR(pg_catalog.=) t.oid"
    " AND k.contype OPERATOR(pg_catalog.=) 'c'::pg_catalog.\"char\")"
    " OR EXISTS (SELECT FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid"
    " AND r.rngcanonical::pg_catalog.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)"
)


class Lineage(Private):
    """Adds inheriting, and the bookkeeping for it."""

    def __init__(self, gate: Gate, describer: Describer) -> None:
        super().__init__(gate, describer)
        self.prepared: dict[str, bytes] = {}  # name -> text of its PREPARE statement
        self._prepared_sure: dict[str, bytes] = {}
        self._cursors: dict[str, tuple[Description, ...]] = {}
        self._declaring: list[str] = []  # sent, and not yet confirmed
        self._opaque_ran = False  # it may have made cursors of any name
        self._harmless_types: dict[tuple[tuple[int, ...], int, int], bool] = {}

    # Inheriting

    def inherit(self, described: Sequence[Description]) -> list[Description]:
        """The statements of one message, in order: what stands behind a PREPARE or DECLARE sees it."""
        prepared, cursors = dict(self.prepared), dict(self._cursors)
        found: list[Description] = []
        for item in described:
            description = item
            command = description.template.command
            codes = {reason.code for reason in description.template.opaque_reasons}
            if description.prepared and "prepared-unknown" in codes:
                description = self._executing(item, prepared.get(item.prepared))
            elif description.cursor and codes == {"cursor-unknown"}:
                description = self._fetching(item, cursors.get(item.cursor, ()))
            elif command == "PREPARE":
                prepared[description.prepared] = description.text
            elif command == "DECLARE CURSOR":
                cursors[description.cursor] = (*cursors.get(description.cursor, ()), description)
            found.append(description)
        return found

    def _executing(self, description: Description, text: bytes | None) -> Description:
        source: Description | None = None
        if text is not None:
            described = self.described_now(text)
            if not isinstance(described, SyntaxProblem) and len(described) == 1:
                source = described[0]
        else:
            statement = self.statements.get(description.prepared.encode())
            if statement is not None and not statement.suspect and not statement.own_types:
                described = self.described_now(statement.text)
                if not isinstance(described, SyntaxProblem) and len(described) == 1:
                    source = described[0]
        return description if source is None else executed(description, source)

    def _fetching(self, description: Description, candidates: tuple[Description, ...]) -> Description:
        portal = self.portals.get(description.cursor.encode())
        if portal is not None:
            bound = portal.statement.description
            # FETCH runs what the portal holds; of anything but a read that is for its own Execute to do.
            if bound is None or bound.template.command != "SELECT" or bound.writes_or_locks or bound.utility:
                return description
            candidates = (*candidates, with_values(bound, portal.bind.values, portal.bind.formats))
        if not candidates or len(candidates) > MAX_CANDIDATES:
            return description
        return fetched(description, candidates)

    def is_cursor(self, name: str) -> bool:
        return name in self._cursors

    def described_now(self, text: bytes) -> Sequence[Description] | SyntaxProblem:
        """As `describe`, without inheriting."""
        raise NotImplementedError

    # Asking

    def look_up(self, name: str) -> Generator[Command | Internal, object, Statement | None]:
        """Ask the target what it has prepared by this name. None where there is nothing, or nothing certain.

        What SQL prepared is remembered for EXECUTE; the statement returned is what the protocol's Bind would run.
        """
        capture = self.question(_PREPARED_SQL, (name.encode(),))
        yield from self.answered(capture)
        return self._looked_up(name, capture)

    def _looked_up(self, name: str, capture: Capture) -> Statement | None:
        if capture.error is not None or len(capture.rows) != 1 or len(capture.rows[0]) != 3:
            return None
        text, from_sql, types = capture.rows[0]
        oids = tuple(int(item) for item in (types or b"").split())
        text = text or b""
        if from_sql == b"true":
            # The text of the whole message that it was in.
            described = self.described_now(text)
            if isinstance(described, SyntaxProblem):
                return None
            mine = [d for d in described if d.template.command == "PREPARE" and d.prepared == name]
            if len(mine) != 1:
                return None
            self._remember(name, mine[0].text)
            self._prepared_sure[name] = mine[0].text
            body = prepared_body(mine[0].text)
            if body is None:
                return None
            text = body
        described = self.described_now(text)
        if isinstance(described, SyntaxProblem) or len(described) != 1:
            return None
        return Statement(name.encode(), text, oids, described[0], self.names_version, self.catalog_version)

    def types_run_nothing(self, types: tuple[int, ...]) -> Generator[Command | Internal, object, bool]:
        """May values be read as these types without running anything that users wrote?"""
        key = (types, self.names_version, self.catalog_version)
        if key not in self._harmless_types:
            named = "{" + ",".join(str(item) for item in types) + "}"
            capture = self.question(_TYPES_SQL, (named.encode(),))
            yield from self.answered(capture)
            if capture.error is not None or len(capture.rows) != 1:
                return False
            if len(self._harmless_types) >= MAX_NAMES:
                self._harmless_types.clear()
            self._harmless_types[key] = capture.rows[0][:1] == [b"0"]
        return self._harmless_types[key]

    def unknown_prepared(self, described: Sequence[Description]) -> str:
        """The first name that an EXECUTE among these needs and nothing here knows. Empty when there is none."""
        made: set[str] = set()
        for description in described:
            if description.template.command == "PREPARE":
                made.add(description.prepared)
            codes = {reason.code for reason in description.template.opaque_reasons}
            name = description.prepared
            if "prepared-unknown" in codes and name not in made and not name.startswith(RESERVED.decode()):
                return name
        return ""

    # Following: what was sent

    def _remember(self, name: str, text: bytes) -> None:
        held = sum(len(item) for item in self.prepared.values())
        if len(self.prepared) >= MAX_NAMES or held + len(text) > MAX_PREPARED_BYTES:
            self.prepared.clear()
            self._prepared_sure.clear()
        self.prepared[name] = text

    def follow_names(self, description: Description) -> None:
        command, name = description.template.command, description.prepared
        if description.template.opaque:
            self.prepared.clear()
            self._prepared_sure.clear()
            self._cursors.clear()
            self._opaque_ran = True
        elif command == "PREPARE":
            self._remember(name, description.text)
        elif command == "DEALLOCATE" and name:
            self.prepared.pop(name, None)
        elif command.startswith(("DEALLOCATE", "DISCARD ALL")):
            self.prepared.clear()
        elif command == "DECLARE CURSOR":
            self._declared(description)
        if command.startswith("DEALLOCATE") or command == "DISCARD ALL" or description.template.opaque:
            self.kept.clear()
            for statement in self.statements.values():
                if not name or statement.name == name.encode() or description.template.opaque:
                    statement.suspect = bool(statement.name)

    def _declared(self, description: Description) -> None:
        name = description.cursor
        known = self._cursors.get(name, ())
        if len(self._cursors) >= MAX_NAMES and not known:
            return
        self._declaring.append(name)
        if description not in known:
            # Beyond the most that are told apart nothing is certain any more, until it is closed.
            self._cursors[name] = (*known, description)[: MAX_CANDIDATES + 1]

    # Following: what the target has done

    def confirmed(self, description: Description) -> None:
        """CommandComplete of a statement that makes or forgets names."""
        command, name = description.template.command, description.prepared
        if command == "PREPARE":
            if name in self.prepared:
                self._prepared_sure[name] = description.text
        elif command == "DECLARE CURSOR":
            if description.cursor in self._declaring:
                self._declaring.remove(description.cursor)
        elif command == "CLOSE CURSOR":
            self._closed(description.cursor)
        elif command.startswith("DEALLOCATE"):
            if name:
                self._prepared_sure.pop(name, None)
            else:
                self._prepared_sure.clear()
        elif command == "DISCARD ALL":
            self._prepared_sure.clear()
            self._closed("")
            self._opaque_ran = False

    def _closed(self, name: str) -> None:
        """CLOSE isn't undone by any rollback."""
        for closed in [name] if name else list(self._cursors):
            if closed not in self._declaring:
                self._cursors.pop(closed, None)

    def unconfirmed(self) -> None:
        """An error took with it what was sent and not answered."""
        self.prepared = dict(self._prepared_sure)
        for name in self._declaring:
            if self._opaque_ran:
                self._cursors.pop(name, None)  # it may have failed because something opaque made one of that name
        self._declaring.clear()

    def forget_cursors(self) -> None:
        """The transaction is over: only cursors WITH HOLD stay."""
        self._declaring.clear()
        if self._cursors:
            kept = {name: tuple(d for d in found if d.cursor_options & HOLD) for name, found in self._cursors.items()}
            self._cursors = {name: found for name, found in kept.items() if found}

    def forget_prepared(self, name: bytes) -> None:
        """The protocol's Close reaches what SQL prepared too."""
        text = name.decode("utf-8", "replace")
        self.prepared.pop(text, None)
        self._prepared_sure.pop(text, None)


def prepared_body(text: bytes) -> bytes | None:
    """What stands behind AS in a PREPARE statement."""
    try:
        tokens = scan(text.decode())
    except (ParseError, UnicodeDecodeError):
        return None
    for token in tokens:
        if token.name == "AS":
            return text[token.end + 1 :]
    return None


def executed(description: Description, source: Description) -> Description:
    """EXECUTE (or EXPLAIN EXECUTE, CREATE TABLE AS EXECUTE) of what `source` prepared.

    Arguments that call anything but safe functions leave it opaque: when they run is not for a name to say.
    """
    own = description.template
    if source.changes_grammar or source.own_setting:
        return replace(description, changes_grammar=source.changes_grammar, own_setting=source.own_setting)
    # The protocol can prepare what SQL can't: COMMIT, COPY, another EXECUTE. Those stay opaque.
    prepared = source.template.command == "PREPARE" or not (source.utility or source.prepared or source.cursor)
    if not prepared or not all(function.safe for function in own.functions):
        return description
    alone = own.command == "EXECUTE"
    runs = alone or "sql.execute" in own.verbs
    template = _merged(own, (source,), drop="prepared-unknown", rows=alone, verbs=runs)
    return replace(
        description,
        template=template,
        shape_digest=_digest(b"execute", description.shape_digest, source.shape_digest),
        static_digest=_digest(b"execute", description.static_digest, source.static_digest, source.text),
        writes_or_locks=source.writes_or_locks or not alone,
        changes_names=source.changes_names or (not alone and runs),
        ddl=source.ddl or (not alone and runs),
        makes_temporary=source.makes_temporary or description.makes_temporary,
        utility=not alone,
        can_estimate=alone and source.can_estimate,
        cannot_estimate_why=source.cannot_estimate_why if alone else description.cannot_estimate_why,
        estimated_here=alone and source.can_estimate,
        verification=both(description.verification, source.verification),
        wire=source.wire if alone else (),
        others=source.others,
        collects=source.collects,
        quotes=source.quotes,
        output_open=source.output_open if alone else description.output_open,
        named=source.text,
        known_rows=None,
    )


def fetched(description: Description, candidates: tuple[Description, ...]) -> Description:
    """FETCH or MOVE from a cursor that is one of these. Its columns can be masked when it can only be one."""
    one = candidates[0]
    shown = len(candidates) == 1 and not one.cursor_options & BINARY and description.template.returns_rows
    template = _merged(description.template, candidates, drop="cursor-unknown", rows=shown, verbs=False)
    return replace(
        description,
        template=template,
        shape_digest=_digest(b"cursor", description.shape_digest, *(item.shape_digest for item in candidates)),
        static_digest=_digest(
            b"cursor",
            description.static_digest,
            *(part for item in candidates for part in (item.static_digest, item.text, item.named)),
        ),
        utility=not shown,
        wire=one.wire if shown else (),
        others=one.others if shown else frozenset(),
        output_open=one.output_open if shown else True,
        named=b"\n".join(item.named or item.text for item in candidates),
    )


def with_values(description: Description, values: tuple[bytes | None, ...], formats: tuple[int, ...]) -> Description:
    """A bound DECLARE or portal: what FETCH from it names, told apart by every byte of its values."""
    if not values:
        return description
    told = _digest(bytes(formats), *(b"-" if value is None else b"=" + value for value in values)).hex()
    shown = b", ".join(b"NULL" if value is None else value[:200] for value in values)
    return replace(description, named=description.text + b"\n[bound: " + shown + b"; SHA-256 " + told.encode() + b"]")


def declared_with(description: Description, values: tuple[bytes | None, ...], formats: tuple[int, ...]) -> Description:
    """Of all that is bound, a DECLARE's values outlive its portal."""
    return (
        with_values(description, values, formats) if description.template.command == "DECLARE CURSOR" else description
    )


def both(first: Verification | None, second: Verification | None) -> Verification | None:
    """One question for two, the rows of the first before those of the second."""
    if first is None or second is None:
        return second if first is None else first
    functions = [item.functions_sql for item in (first, second) if item.functions_sql is not None]
    return Verification(
        sql=_union([first.sql, second.sql]),
        expected=first.expected + second.expected,
        functions_sql=_union(functions) if functions else None,
        functions_expected=first.functions_expected + second.functions_expected,
    )


def _union(questions: Sequence[str]) -> str:
    rows = " UNION ALL ".join(
        f"SELECT {index}, pg_catalog.row_number() OVER (), q.v FROM ({question}) q(v)"  # noqa: S608 - the describer's
        for index, question in enumerate(questions)
    )
    return f"SELECT z.v FROM ({rows}) z(k,n,v) ORDER BY z.k, z.n"  # noqa: S608 - of the above only


def typed_by_users(description: Description) -> Description:
    """A statement whose parameters are read as types that run what users wrote."""
    template = operation_pb2.SqlOperation()
    template.CopyFrom(description.template)
    template.opaque = True
    template.opaque_reasons.add(code="procedural-default", detail="a parameter's type runs code of its own on input")
    return replace(
        description,
        template=template,
        shape_digest=_digest(b"typed", description.shape_digest),
        static_digest=_digest(b"typed", description.static_digest),
        can_estimate=False,
        cannot_estimate_why="the statement is opaque",
    )


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def _lineage(template: operation_pb2.SqlOperation, other: operation_pb2.SqlOperation, *, rows: bool) -> None:
    """What the other tells, this one tells. Values whose place in the result isn't known are `unlisted`; under EXPLAIN
    they are estimated; of what a new table takes, nobody here knows into which column."""
    template.inferences.extend(item for item in other.inferences if item not in template.inferences)
    template.flows.extend(item for item in other.flows if item not in template.flows)
    if rows or template.command == "MOVE":
        return
    kind = "estimate" if "sql.explain" in template.verbs else "unlisted"
    into = {"sql.create", "sql.temporary"} & set(template.verbs)
    for output in other.output:
        for source in output.sources:
            if into:
                flow = template.flows.add(kind="create", through=source.through, temporary="sql.temporary" in into)
                flow.source.schema, flow.source.relation = source.schema, source.relation
                flow.source.column = source.column
                flow.target.SetInParent()
                continue
            inference = operation_pb2.Inference(
                schema=source.schema, relation=source.relation, column=source.column, kind=kind
            )
            if inference not in template.inferences:
                template.inferences.append(inference)


def _labels(template: operation_pb2.SqlOperation, others: Sequence[operation_pb2.SqlOperation]) -> None:
    """What the target's catalog says of the columns: to what was known when the others were described is added what is
    known now."""
    known = [item for one in (template, *others) for item in one.column_labels]
    if known:
        there = set(named(template))
        kept: list[operation_pb2.ColumnLabels] = []
        for item in known:
            if (item.schema, item.relation, item.column) in there and item not in kept:
                kept.append(item)
        del template.column_labels[:]
        template.column_labels.extend(kept)
    for other in others:
        template.target_labels.extend(label for label in other.target_labels if label not in template.target_labels)
        template.missing_columns.extend(item for item in other.missing_columns if item not in template.missing_columns)


def _merged(
    own: operation_pb2.SqlOperation, sources: Sequence[Description], *, drop: str, rows: bool, verbs: bool
) -> operation_pb2.SqlOperation:
    """`own` with everything that the sources touch. rows: the one source's columns are this statement's own."""
    template = operation_pb2.SqlOperation()
    template.CopyFrom(own)
    reasons = [reason for reason in own.opaque_reasons if reason.code != drop]
    for source in sources:
        reasons.extend(source.template.opaque_reasons)
    del template.opaque_reasons[:]
    template.opaque_reasons.extend(reasons)
    template.opaque = bool(reasons)
    for source in sources:
        other = source.template
        template.relations.extend(item for item in other.relations if item not in template.relations)
        template.functions.extend(item for item in other.functions if item not in template.functions)
        template.servers.extend(item for item in other.servers if item not in template.servers)
        template.settings.extend(item for item in other.settings if item not in template.settings)
        template.not_covered.extend(item for item in other.not_covered if item not in template.not_covered)
        for column in other.columns:
            kept = column
            if column.use == "output" and not rows and own.command != "MOVE":
                kept = operation_pb2.ColumnUse()
                kept.CopyFrom(column)
                kept.use = "other"  # shown, and nobody can say in which column of the result
            if kept not in template.columns:
                template.columns.append(kept)
        _lineage(template, other, rows=rows)
        if verbs:
            template.verbs.extend(verb for verb in other.verbs if verb != "sql.prepare" and verb not in template.verbs)
            template.has_where = other.has_where
    if rows:
        template.output.extend(sources[0].template.output)
        template.returns_rows = bool(sources[0].template.output) or sources[0].output_open or own.command == "FETCH"
    _labels(template, [source.template for source in sources])
    return template
