"""What real clients were recorded saying is answered by the gateway as it is directly, under a masked role."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.attack import Answer
from tests.corpus.field import READER, Field
from tests.corpus.traffic import FOLDER, Oids, load, replay

RECORDINGS = sorted(FOLDER.rglob("*.json"))
_LEAST = 5


def _name(path: Path) -> str:
    return f"{path.stem} of {path.parent.name}"


@pytest.mark.target
@pytest.mark.timeout(240)
@pytest.mark.parametrize("path", RECORDINGS, ids=_name)
def test_a_clients_recorded_talk_is_answered_as_it_is_directly(field: Field, path: Path) -> None:
    if int(path.parent.name) != field.version:
        return  # what a client asks depends on the server's version
    differ, batches = [], 0
    with field.link(field.direct("a", READER)) as first:
        oids = Oids(first)
    for session in load(path):
        with field.link(field.direct("a", READER)) as direct, field.link(field.gateway("work")) as gateway:
            for (said, there), (_, here) in zip(
                replay(direct, session, oids), replay(gateway, session, oids), strict=True
            ):
                batches += 1
                if Answer(here, 0).comparable() != Answer(there, 0).comparable():
                    differ.append(f"{said}\n  = {Answer(here, 0).shown()}\n  : {Answer(there, 0).shown()}")
    assert batches >= _LEAST
    assert not differ, f"{len(differ)} of {batches} differ\n" + "\n".join(differ)


def test_there_are_recordings_of_each_client() -> None:
    assert {path.stem for path in RECORDINGS} >= {
        "psql",
        "completion",
        "sqlalchemy",
        "django",
        "jdbc",
        "node",
    }
