"""What policy data plans for each classified column, and where it says so."""

from __future__ import annotations

from decision.columns import ColumnName
from decision.identity.documents import Document, parse
from decision.policy.classification import Classification
from decision.policy.masks import PlannedMask, planned

ROLES: dict[str, object] = {"planner": {}, "executor": {}, "analyst": {}}
MASKING = b"""\
clear: {executor: ["*"], analyst: [pan]}
default: {type: "null"}
maskers:
  pan: {type: email}
roles:
  analyst:
    email: {type: hash}
    pan: {type: hash}
"""
EMAIL = Classification({"public.c.email": "email"}, {"public.c.email": "c.yaml:1"})
BOTH = Classification(
    {"public.c.email": "email", "public.c.pan": "pan"}, {"public.c.email": "c.yaml:1", "public.c.pan": "c.yaml:2"}
)


def test_each_masker_that_some_role_gets_is_planned_once_with_its_place() -> None:
    email, pan = ColumnName("public", "c", "email"), ColumnName("public", "c", "pan")
    assert planned(BOTH, parse(MASKING, "masking.yaml"), ROLES) == (
        PlannedMask(email, "email", {"type": "null"}, "masking.yaml:2, c.yaml:1"),
        PlannedMask(email, "email", {"type": "hash"}, "masking.yaml:7, c.yaml:1"),
        PlannedMask(pan, "pan", {"type": "email"}, "masking.yaml:4, c.yaml:2"),  # who sees it clear has none
    )


def test_incomplete_data_plans_nothing() -> None:
    whole = parse(MASKING, "masking.yaml").data
    for masking, roles in ((None, ROLES), ({}, ROLES), (whole, None), ({"default": "null"}, ROLES)):
        assert planned(EMAIL, Document("masking.yaml", masking), roles) == ()
