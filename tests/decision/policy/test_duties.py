"""duties.yaml: what contradicts itself, or people.yaml, is refused with file, line and names."""

from __future__ import annotations

import pytest

from decision.errors import PolicyLoadError
from decision.identity.documents import parse
from decision.identity.people import read_people
from decision.policy import duties

PEOPLE = b"""principals:
  - {name: alice, identities: [{iss: i, sub: a}]}
agents:
  - {name: executor-7, identities: [{iss: i, sub: e}], owner: alice}
"""
CONNECTIONS = {"crm", "a", "b", "s"}
ROLES = {"planner", "executor", "reviewer", "auditor"}
VERBS = {"sql.grant": "rights", "sql.drop": "remove"}
WHOLE = """static:
  - {name: pe, roles: [planner, executor], limit: 2}
  - {name: three, roles: [planner, executor, reviewer], limit: 3, environments: [production], labels: [pan]}
dynamic:
  - {name: pe, roles: [planner, executor], limit: 2, connections: [crm]}
review: {role: reviewer, reciprocal_days: 7, policy_author_days: 3}
never_write: [planner]
hierarchy:
  lead: [planner]
  chief: [lead, auditor]
assignments:
  alice: [chief]
  executor-7: [executor]
cooling:
  - {name: off, after: [planner], roles: [executor], hours: 24}
walls:
  - {name: banks, datasets: {one: [a], two: [b]}, sanitised: [s]}
inner_walls:
  - {name: clients, datasets: {one: {relations: [public.a, b.*]}, two: {labels: [pan]}}, sanitised: [public.s]}
windows:
  - {name: office, roles: [executor], days: [mon], from: "08:00", to: "17:00", zone: Europe/Berlin}
processes:
  - name: pay
    per: relation
    limit: 2
    days: 30
    steps:
      - {name: enter, access: [insert], relations: [public.a]}
      - {name: grant, verbs: [sql.grant]}
minimum:
  - {environments: [production], groups: [remove], least: 2}
chains:
  - {name: on-behalf, roles: [executor], environments: [production]}
"""


def check(text: str) -> None:
    people = read_people(parse(PEOPLE, "people.yaml"), dev=False)
    document = parse(text.encode(), "duties.yaml")
    duties.check(document, roles=ROLES, verbs=VERBS, people=people, connections=CONNECTIONS)


def test_a_whole_file_is_taken() -> None:
    check(WHOLE)
    check("static: []\n")
    nobody = read_people(parse(PEOPLE, "people.yaml"), dev=False)
    duties.check(None, roles=ROLES, verbs=VERBS, people=nobody, connections=())


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        (
            "[planner, executor], limit: 2}\n  - {name: three",
            "[planner], limit: 2}\n  - {name: three",
            2,
            "forbids nothing",
        ),
        ("executor, reviewer], limit: 3", "executor, reviewer], limit: 4", 3, "3 roles and a limit of 4"),
        ("executor, reviewer], limit: 3", "executor, reviewer], limit: 1", 3, "forbids every one"),
        ("executor, reviewer], limit: 3", "executor, planner], limit: 3", 3, "twice"),
        ("{name: three, roles", "{name: three, rules", 3, "rules: is no key"),
        ("name: three", "name: pe", 3, "pe is given twice"),
        ("labels: [pan]", "labels: pan", 3, "not a list"),
        ("  - {name: pe, roles: [planner, executor], limit: 2, connections: [crm]}", "  - pe", 5, "not a mapping"),
        ("reciprocal_days: 7", "reciprocal_days: -7", 6, "above zero"),
        ("reciprocal_days: 7", "reciprokal_days: 7", 6, "is no key"),
        ("lead: [planner]", "lead: [chief]", 9, "lead ends up below itself, by chief"),
        ("lead: [planner]", "lead: [plannr]", 9, "'plannr' is no role"),
        ("alice: [chief]", "alise: [chief]", 12, "alise is nobody"),
        (
            "alice: [chief]",
            "alice: [chief, executor]",
            12,
            "alice holds executor, planner, which exclude each other .pe.",
        ),
        ("alice: [chief]", "alice: [planner, executor]", 12, "alice holds executor, planner"),
        ("executor-7: [executor]", "executor-7: executor", 13, "not a list"),
        ("hours: 24", "hours: true", 15, "above zero"),
        ("after: [planner]", "after: [planer]", 15, "no role"),
        ("two: [b]}", "two: [a]}", 17, "a is in one and in two"),
        (", two: [b]}", "}", 17, "fewer than two"),
        ("two: {labels: [pan]}", "two: {labels: []}", 19, "nothing fits it"),
        (", two: {labels: [pan]}}", "}", 19, "fewer than two"),
        ("two: {labels: [pan]}", "two: {}", 19, "is not .relations"),
        ("two: {labels: [pan]}", "two: {label: [pan]}", 19, "is no key"),
        ("two: {labels: [pan]}", "two: {relations: [b.*]}", 19, "in one and in two"),
        ("relations: [public.a", "relations: [a", 19, "names no schema"),
        ("sanitised: [public.s]", "sanitised: [s]", 19, "names no schema"),
        ("days: [mon]", "days: [monday]", 21, "list of days"),
        ("days: [mon]", "days: []", 21, "list of days"),
        ("on-behalf, roles: [executor]", "on-behalf, roles: [executer]", 33, "is no role"),
        ("on-behalf, roles: [executor]", "on-behalf, roles: []", 33, "nothing fits it"),
        ("on-behalf, roles", "on-behalf, least: 2, roles", 33, "is no key"),
        ('"08:00"', '"8:00"', 21, "no time of day"),
        ('"17:00"', '"24:00"', 21, "no time of day"),
        ('"17:00"', '"08:00"', 21, "never open"),
        ("Europe/Berlin", "Europe/Berlyn", 21, "no time zone"),
        ("per: relation", "per: table", 24, "means nothing"),
        ("    limit: 2\n    days", "    limit: 3\n    days", 25, "2 steps and a limit of 3"),
        ("days: 30", "days: 0", 26, "no number of days"),
        ("name: grant, ", "name: enter, ", 29, "enter is given twice"),
        (", verbs: [sql.grant]", "", 29, "taken by nothing"),
        ("verbs: [sql.grant]", "verbs: [sql.grnt]", 29, "'sql.grnt' is no verb"),
        ("access: [insert]", "access: [insrt]", 28, "'insrt' is no access"),
        ("groups: [remove]", "groups: [removal]", 31, "'removal' is no class"),
        ("environments: [production], labels", "environments: [], labels", 3, "nothing fits it"),
        ("least: 2", "least: two", 31, "above zero"),
        (", least: 2", "", 31, "least is missing"),
        ("static:", "statik:", 1, "statik: is no key"),
    ],
)
def test_what_forbids_nothing_or_is_broken_already_is_refused_with_its_line(
    old: str, new: str, line: int, says: str
) -> None:
    assert old in WHOLE
    with pytest.raises(PolicyLoadError, match=rf"^duties\.yaml:{line}: .*{says}"):
        check(WHOLE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("alice: [chief]", "alice: [planner, executor]", "duties.yaml:12: .*alice holds executor, planner"),  # assigned
        (
            "lead: [planner]",
            "lead: [planner, executor]",
            "duties.yaml:12: .*alice holds executor, planner",
        ),  # inherited
        ("reviewer], limit: 3,", "reviewer], limit: 4,", "duties.yaml:3: .*3 roles and a limit of 4"),
    ],
)
def test_rb1_a_set_that_is_broken_by_an_assignment_a_hierarchy_or_itself(old: str, new: str, says: str) -> None:
    """RB-1: |rs| >= n, and nobody is given as many of them as n, directly or by inheritance: the bundle is refused."""
    assert old in WHOLE
    with pytest.raises(PolicyLoadError, match=says):
        check(WHOLE.replace(old, new, 1))


def test_an_owner_and_its_agent_may_hold_what_one_may_not() -> None:
    """Keeping them apart is the dynamic sets' work: they are connected at different times."""
    check(WHOLE.replace("alice: [chief]", "alice: [planner]"))


def test_a_set_with_conditions_is_left_to_the_rule() -> None:
    text = WHOLE.replace("limit: 2}\n  - {name: three", "limit: 2, environments: [x]}\n  - {name: three", 1)
    check(text.replace("alice: [chief]", "alice: [planner, executor]"))


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ("walls: [{name: banks, datasets: {one: [crmm], two: [b]}}]\n", "walls[0].datasets.one[0]", "crm"),
        ("walls: [{name: w, datasets: {one: [a], two: [b]}, sanitised: [crn]}]\n", "walls[0].sanitised[0]", "crm"),
        ("static: [{name: p, roles: [planner, executor], limit: 2, connections: [cmr]}]\n", "connections[0]", "crm"),
        ("static: [{name: p, roles: [planner, exekutor], limit: 2}]\n", "static[0].roles[1]", "executor"),
        ("dynamic: [{name: p, roles: [plannr, executor], limit: 2}]\n", "dynamic[0].roles[0]", "planner"),
        ("cooling: [{name: c, after: [planner], roles: [executer], hours: 1}]\n", "cooling[0].roles[0]", "executor"),
        ("never_write: [planer]\n", "never_write[0]", "planner"),
        ("review: {role: reviwer}\n", "review.role", "reviewer"),
        ("assignments: {executor7: [executor]}\n", "assignments.executor7", "executor-7"),
        ("assignments: {alice: [reviewr]}\n", "assignments.alice[0]", "reviewer"),
        ("minimum: [{least: 2, connections: [crmm]}]\n", "minimum[0].connections[0]", "crm"),
    ],
)
def test_a_misspelt_name_is_refused_with_what_was_meant(text: str, where: str, meant: str) -> None:
    with pytest.raises(PolicyLoadError) as refused:
        check(text)
    assert str(refused.value).startswith("duties.yaml:1: ")
    assert where in str(refused.value)
    assert f"did you mean {meant}?" in str(refused.value)
