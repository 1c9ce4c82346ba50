"""Without any one report of an inference, some statement's description is wrong: a part of what `make mutate` tries."""

from __future__ import annotations

import pytest

from tests.enforcers.postgres.describe import given
from tests.enforcers.postgres.describe.conftest import Server
from tests.enforcers.postgres.describe.lineage_world import World
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.run import equivalent
from tests.mutation.trial import FOLDER, Catalogs, Trial

REPORTS = [
    mutant
    for module in ("conditionals", "expressions", "joins", "queries", "relations")
    for mutant in mutants(FOLDER / f"{module}.py")
    if ":dropped:" in mutant.name and ".infer(" in mutant.what and mutant.key not in equivalent()
]


@pytest.fixture(scope="module")
def trial(server: Server, world: World) -> Trial:
    return Trial(Catalogs(server.catalog, world.catalog), quick=True)


@pytest.mark.parametrize("mutant", REPORTS, ids=lambda mutant: mutant.key)
def test_an_inference_that_is_not_reported_is_missed(trial: Trial, mutant: Mutant) -> None:
    assert not given.CATALOGS  # those of the run's own server
    assert trial.outcome(mutant).killed.startswith(("lineage", "corpus", "kinds"))


def test_there_are_reports_to_take_away() -> None:
    assert len(REPORTS) > 15
