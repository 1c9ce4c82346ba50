"""The stored columns that an operation names, in any of its lists."""

from __future__ import annotations

from collections.abc import Iterator

from twokey.type.v1 import operation_pb2

Named = tuple[str, str, str]  # schema, relation, column


def named(template: operation_pb2.SqlOperation) -> Iterator[Named]:
    """With repetitions."""
    for use in template.columns:
        yield use.schema, use.relation, use.column
    for output in template.output:
        if output.HasField("origin"):
            yield output.origin.schema, output.origin.relation, output.origin.column
        for source in output.sources:
            yield source.schema, source.relation, source.column
    for inference in template.inferences:
        yield inference.schema, inference.relation, inference.column
    for flow in template.flows:
        yield flow.source.schema, flow.source.relation, flow.source.column
        yield flow.target.schema, flow.target.relation, flow.target.column
    for literal in template.literals:
        for column in literal.columns:
            yield column.schema, column.relation, column.column
