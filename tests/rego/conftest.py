"""The staged policy and the fixtures' questions, made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rego import harness


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy as production loads it: no tests, data merged."""
    return harness.stage(tmp_path_factory.mktemp("policy"))


DUTIES = {
    **harness.shipped_data()["duties"],
    "walls": [{"name": "banks", "datasets": {"bank-1": ["crm"], "bank-2": ["other"]}}],
    "inner_walls": [
        {
            "name": "clients",
            "datasets": {"a": {"relations": ["public.orders"]}, "b": {"relations": ["public.customers"]}},
        }
    ],
    "cooling": [{"name": "off", "after": ["planner"], "roles": ["executor"], "hours": 1}],
    "assignments": {name: ["executor", "planner", "reviewer"] for name in ("alice", "bob", "carol", "executor-7")},
    "review": {"role": "reviewer", "reciprocal_days": 7, "policy_author_days": 3},
    "processes": [
        {
            "name": "paying",
            "per": "relation",
            "limit": 2,
            "steps": [
                {"name": "change", "access": ["update"], "relations": ["public.orders"]},
                {"name": "remove", "access": ["delete"], "relations": ["public.orders"]},
            ],
        }
    ],
}
AUTHZEN = {
    "callers": {"app": {"types": ["todo"], "subjects": ["user", "agent", "group"]}},
    "types": {"todo": {"allow": {"read": ["carol", "alice"], "delete": ["carol"]}, "never": [], "approve": ["delete"]}},
}


@pytest.fixture(scope="session")
def dutiful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with duties of every kind, and a foreign resource type."""
    data = harness.config(duties=DUTIES, authzen=AUTHZEN)
    return harness.stage(tmp_path_factory.mktemp("dutiful"), data=data)


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> harness.Json:
    """data.twokey.testing: complete questions."""
    return harness.questions(harness.stage(tmp_path_factory.mktemp("fixtures"), tests=True))
