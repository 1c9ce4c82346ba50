"""What runs when a function does: behind operators, casts, rules and policies; and what its result was made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from enforcers.postgres.description import Description
from tests.enforcers.postgres.describe.lineage_world import World, described

Describe = Callable[..., Description]


@pytest.mark.parametrize("sql", ["SELECT 1 ==== 2", "SELECT 'sad'::mood::int", "SELECT 1 + 2, 3::bigint"])
def test_safe_functions_behind_operators_and_casts_are_not_listed(one: Describe, sql: str) -> None:
    """Every statement has some: a list that holds them all hides the one that counts."""
    found = one(sql).template
    assert (list(found.functions), found.opaque) == ([], False)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO relayed VALUES (1)", "procedural-rule"),
        ("SELECT id FROM allowed", "procedural-rule"),
        ("INSERT INTO made VALUES (1)", "procedural-default"),
        ("INSERT INTO bad_check VALUES (1)", "procedural-default"),
        ("INSERT INTO bad_default (x) VALUES (1)", "procedural-default"),
        ("INSERT INTO watched VALUES (1)", "procedural-trigger"),
        ("INSERT INTO indexed VALUES (1)", "procedural-default"),
        ("SELECT proc(1)", "procedural-function"),
    ],
)
def test_a_reason_says_what_brought_the_code_along(one: Describe, sql: str, code: str) -> None:
    """unseen.yaml permits by these words: a rule's code must not pass for a default's."""
    assert {reason.code for reason in one(sql).template.opaque_reasons} == {code}


def inferred(description: Description) -> set[str]:
    return {f"{item.relation}.{item.column}:{item.kind}" for item in description.template.inferences}


def test_a_function_decides_each_time_it_is_called(world: World) -> None:
    """Its body is described once; a later call where rows are decided must not be forgotten for it."""
    once = inferred(described(world, "SELECT look(1) FROM n"))
    assert once == {"p.id:where"}
    again = inferred(described(world, "SELECT look(1), EXISTS (SELECT 1 FROM n WHERE look(1) = 'x') FROM n"))
    assert again == {"p.id:where", "p.ssn:where", "p.id:exists", "p.ssn:exists"}


@pytest.mark.parametrize(
    "sql", ["SELECT echoed(ssn) FROM p", "SELECT up(ssn) FROM p", "SELECT atomic(ssn, 'x') FROM p"]
)
def test_what_is_handed_over_by_number_or_name_comes_back(world: World, sql: str) -> None:
    (output,) = described(world, sql).template.output
    assert [(source.relation, source.column) for source in output.sources] == [("p", "ssn")]
