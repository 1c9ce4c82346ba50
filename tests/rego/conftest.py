"""The staged policy and the fixtures' questions, made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rego import harness


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy as production loads it: no tests, data merged."""
    return harness.stage(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> harness.Json:
    """data.twokey.testing: complete questions."""
    return harness.questions(harness.stage(tmp_path_factory.mktemp("fixtures"), tests=True))
