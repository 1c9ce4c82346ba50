"""What each construct is described as: sources of every result column, inferences, flows (lineage.txt).

A line is `statement ¦ result columns ¦ inferences ¦ flows`. A result column is its sources joined by `+`, `-` where it
has none: `p.ssn=` a copy, `p.ssn~` computed by what tells nothing, `p.ssn!` by what can tell. Everything there is must
be listed, and nothing else. That it is also *right* is for test_lineage_oracle.py to say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.lineage_world import World, described

TEXT = (Path(__file__).parent / "lineage.txt").read_text(encoding="utf-8")
LINES = [line.split(" ¦ ") for line in TEXT.splitlines()]
_WAYS = {"copy": "=", "safe": "~", "tells": "!"}


def printed(description: Description) -> list[str]:
    template = description.template
    outputs = " ".join(
        "+".join(sorted(f"{s.relation}.{s.column}{_WAYS[s.through]}" for s in output.sources)) or "-"
        for output in template.output
    )
    inferences = " ".join(sorted({f"{i.relation}.{i.column}:{i.kind}" for i in template.inferences}))
    flows = " ".join(
        sorted(
            f"{f.source.relation}.{f.source.column}{_WAYS[f.through]}>{f.target.relation}.{f.target.column}:{f.kind}"
            for f in template.flows
        )
    )
    return [outputs or "-", inferences or "-", flows or "-"]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0][:70])
def test_lineage(world: World, line: list[str]) -> None:
    description = described(world, line[0])
    assert not description.template.opaque, list(description.template.opaque_reasons)
    assert printed(description) == line[1:]
