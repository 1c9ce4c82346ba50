"""RB-6: how many principals an act takes at least, against brute force and on the shipped data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from decision.cli.opa import shipped_rego
from decision.cli.separation import Phase, Row, Separation, fewest

PEOPLE: dict[str, Any] = {
    "principals": [
        {"name": "alice", "groups": ["dba"]},
        {"name": "bob", "groups": ["dba"]},
        {"name": "carol", "groups": []},
    ],
    "agents": [{"name": "executor-7", "owner": "alice"}, {"name": "sub-1", "owner": "executor-7"}],
}


def shipped() -> dict[str, Any]:
    return {path.stem: YAML(typ="safe").load(path) for path in sorted((shipped_rego() / "data").glob("*.yaml"))}


def counted(duties: Mapping[str, object] | None = None, people: Any = PEOPLE, **more: bool) -> dict[str, Row]:
    policy = shipped()
    policy["duties"] = {**policy["duties"], **(duties or {})}
    return {row.duty: row for row in Separation(policy, people, [("crm", "production")]).rows(**more)}


def brute(phases: Sequence[Phase]) -> int | None:
    least = None
    for chosen in product(*[sorted(phase.able) for phase in phases]):
        if all(chosen[index] != chosen[other] for index, phase in enumerate(phases) for other in phase.apart):
            least = len(set(chosen)) if least is None else min(least, len(set(chosen)))
    return least


@st.composite
def problems(draw: st.DrawFn) -> list[Phase]:
    roots = [f"p{number}" for number in range(draw(st.integers(1, 5)))]
    phases = []
    for index in range(draw(st.integers(1, 5))):
        able = draw(st.sets(st.sampled_from(roots)))
        apart = draw(st.sets(st.integers(0, index - 1))) if index else set()
        phases.append(Phase(f"phase {index}", {root: root for root in able}, frozenset(apart)))
    return phases


@given(problems())
def test_rb6_the_least_is_what_trying_everything_finds(phases: list[Phase]) -> None:
    found = fewest(phases)
    assert (None if found is None else len(set(found))) == brute(phases)
    for index, phase in enumerate(phases if found else ()):
        assert found is not None
        assert found[index] in phase.able
        assert all(found[index] != found[other] for other in phase.apart)


def test_a_thousand_principals_cost_no_more_than_a_few() -> None:
    able = {f"p{number}": "x" for number in range(1000)}
    phases = [Phase(str(index), able, frozenset(range(index))) for index in range(8)]
    found = fewest(phases)
    assert found is not None
    assert len(set(found)) == 8


def test_what_is_held_takes_a_reviewer_of_another_closure() -> None:
    rows = counted()
    assert rows["read"].sentence == "executor-7 can: 1"
    assert rows["delete"].sentence == "bob and executor-7 can: 2"
    assert rows["delete"].witness == (("execute", "executor-7"), ("approve 1", "bob"))
    assert rows["rights"].least == 2
    assert (rows["remove"].least, rows["remove"].sentence) == (0, "denied, approved or not")


def test_an_owner_is_no_second_principal() -> None:
    """Alice owns the only executor and is the only reviewer."""
    people = {"principals": [{"name": "alice", "groups": ["dba"]}], "agents": PEOPLE["agents"]}
    assert counted(people=people)["delete"].sentence == "too few principals"


def test_who_is_assigned_what_counts() -> None:
    roles = {"sub-1": ["executor"], "bob": ["reviewer"]}
    assert counted({"assignments": roles})["delete"].sentence == "bob and sub-1 can: 2"
    assert counted({"assignments": {"sub-1": ["executor"]}})["delete"].sentence == "nobody can approve 1"
    chief = {"hierarchy": {"chief": ["executor"]}, "assignments": {"carol": ["chief"], "bob": ["reviewer"]}}
    assert counted(chief)["delete"].sentence == "bob and carol can: 2"


def test_a_plan_is_another_principals() -> None:
    rows = counted(plan=True)
    assert rows["read"].least == 2
    assert [phase for phase, _ in rows["delete"].witness] == ["plan", "execute", "approve 1"]
    assert rows["delete"].least == 3


def test_each_further_approval_takes_one_more() -> None:
    policy = shipped()
    policy["approvals"]["rules"] = {"SQL-DELETE": {"groups": ["dba"], "quorum": 2, "expires_s": 60}}
    people = {"principals": [*PEOPLE["principals"], {"name": "dave", "groups": ["dba"]}], "agents": PEOPLE["agents"]}
    rows = {row.duty: row for row in Separation(policy, people, [("crm", "production")]).rows()}
    assert rows["delete"].least == 3
    assert rows["rights"].least == 2


def test_a_process_takes_as_many_as_its_limit_lets_no_fewer_do() -> None:
    steps = [{"name": name, "access": ["insert"]} for name in "abcde"]
    process = {"name": "pay", "per": "process", "steps": steps}
    assert counted({"processes": [process]})["process pay"].least == 2
    assert counted({"processes": [{**process, "limit": 2}]})["process pay"].least == 5
    assert counted({"processes": [{**process, "limit": 3}]})["process pay"].sentence == "at least 3"


def test_fewer_than_demanded_is_found_and_nobody_is_enough() -> None:
    policy = shipped()
    policy["duties"]["minimum"] = [
        {"environments": ["production"], "groups": ["delete", "rights", "remove"], "least": 2},
        {"groups": ["write"], "least": 2},
        {"connections": ["another"], "least": 9},
    ]
    separation = Separation(policy, PEOPLE, [("crm", "production"), ("sand", "test")])
    low = [(row.connection, row.duty, row.least, least) for row, least in separation.too_few(separation.rows())]
    assert low == [("crm", "write", 1, 2), ("sand", "write", 1, 2)]


def test_the_matrix_marks_conflicting_duties_and_exclusive_roles() -> None:
    policy = shipped()
    header, rows = Separation(policy, PEOPLE, []).matrix()
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert cells["planner"]["plan"] == "x"
    assert cells["planner"]["write"] == ""
    assert cells["executor"]["write"] == "x"
    assert cells["executor"]["excludes"] == "planner (dynamic and static), reviewer (static)"
    assert cells["auditor"]["audit"] == "x"
    assert not any("!" in row for row in rows)
    policy["duties"]["hierarchy"] = {"executor": ["reviewer"]}
    header, rows = Separation(policy, PEOPLE, []).matrix()
    cells = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert (cells["executor"]["write"], cells["executor"]["approve"]) == ("!", "!")
