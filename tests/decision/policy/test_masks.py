"""What policy data plans for each classified column."""

from __future__ import annotations

from decision.columns import ColumnName
from decision.policy.masks import PlannedMask, planned

ROLES = {"planner": {}, "executor": {}, "analyst": {}}
MASKING = {
    "clear": {"executor": ["*"], "analyst": ["pan"]},
    "default": {"type": "null"},
    "maskers": {"pan": {"type": "email"}},
    "roles": {"analyst": {"email": {"type": "hash"}, "pan": {"type": "hash"}}},
}


def test_each_masker_that_some_role_gets_is_planned_once() -> None:
    email, pan = ColumnName("public", "c", "email"), ColumnName("public", "c", "pan")
    assert planned({"public.c.email": "email", "public.c.pan": "pan"}, MASKING, ROLES) == (
        PlannedMask(email, "email", {"type": "null"}),
        PlannedMask(email, "email", {"type": "hash"}),
        PlannedMask(pan, "pan", {"type": "email"}),  # who sees it clear has none
    )


def test_incomplete_data_plans_nothing() -> None:
    for masking, roles in ((None, ROLES), ({}, ROLES), (MASKING, None), ({"default": "null"}, ROLES)):
        assert planned({"public.c.email": "email"}, masking, roles) == ()
