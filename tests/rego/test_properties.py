"""What holds for every question, tried on many at once in one evaluation of the real OPA."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision.policy.result import check_result
from tests.rego import harness
from tests.rego.harness import REGO, Json

RANK = {"deny": 0, "require-approval": 1, "mask-columns": 2, "allow": 3}
SLOW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.sampled_from(["planner-1", "executor-7", "alice", "bob", "carol", "x", ""])
parties = st.builds(
    lambda name, kind, owner: {"iss": "i", "sub": name, "name": name, "kind": kind, "owner": owner},
    names,
    st.sampled_from(["person", "agent", "unknown"]),
    st.sampled_from(["", "alice", "bob"]),
)
subjects = st.sampled_from(["planner", "executor", "stranger", "alice", "reader"])
statements = st.sampled_from(
    ["begin", "select_orders", "select_email", "update_orders", "delete_orders", "drop_orders", "do_block", "set_role"]
)


@st.composite
def variations(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "subject": draw(subjects),
        "statement": draw(statements),
        "environment": draw(st.sampled_from(["production", "development", "somewhere", ""])),
        "estimate": draw(st.sampled_from([None, ("absent", 0), ("known", 1), ("known", 10**9), ("unknown", 0)])),
        "approval": draw(st.sampled_from([None, "pending", "approved"])),
        "actors": draw(st.lists(parties, max_size=2)),
        "patch": draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "opaque": st.booleans(),
                    "has_where": st.booleans(),
                    "returns_rows": st.booleans(),
                    "verbs": st.lists(st.sampled_from(["sql.select", "sql.delete", "sql.drop", "sql.x"]), max_size=2),
                },
            )
        ),
    }


def build(samples: Json, chosen: dict[str, Any]) -> Json:
    asked = harness.ask(samples, chosen["subject"], chosen["statement"])
    asked["resource"]["environment"] = chosen["environment"]
    asked["operation"]["sql"].update(chosen["patch"])
    asked["subject"]["actors"] = list(chosen["actors"])
    if chosen["estimate"] is not None:
        state, rows = chosen["estimate"]
        asked["values"]["present"] = True
        asked["values"]["estimate"].update(state=state, rows=rows)
    if chosen["approval"] is not None:
        asked["context"]["approval"] = copy.deepcopy(samples[chosen["approval"]])
    return asked


@SLOW
@given(st.lists(variations(), min_size=20, max_size=40))
def test_every_answer_is_one_the_service_accepts(policy: Path, fixtures: Json, chosen: list[dict[str, Any]]) -> None:
    asked = [build(fixtures, one) for one in chosen]
    for question, decision in zip(asked, harness.decide_all(policy, asked), strict=True):
        result = check_result(decision, revision="r", on_shape=not question["values"]["present"])
        assert result.reasons
        if question["values"]["present"] or result.outcome != "allow":
            assert result.lease_ttl_ms is None


@SLOW
@given(st.lists(st.tuples(variations(), parties, st.booleans()), min_size=20, max_size=40))
def test_tx_2_an_added_actor_only_narrows(
    policy: Path, fixtures: Json, chosen: list[tuple[dict[str, Any], dict[str, str], bool]]
) -> None:
    before, after = [], []
    for variation, actor, first in chosen:
        asked = build(fixtures, variation)
        more = copy.deepcopy(asked)
        more["subject"]["actors"].insert(0 if first else len(more["subject"]["actors"]), actor)
        more["subject"]["closure"] = sorted({*more["subject"]["closure"], actor["name"], actor["owner"]})
        before.append(asked)
        after.append(more)
    outcomes = [decision["outcome"] for decision in harness.decide_all(policy, [*before, *after])]
    for index, outcome in enumerate(outcomes[: len(before)]):
        assert RANK[outcomes[index + len(before)]] <= RANK[outcome]


# What a closure did: opened another dataset's connection, worked as planner, took a step, approved, changed policy.
acts = st.builds(
    lambda element, act, what, connection, age: {
        "element": element, "act": act, "object": what, "connection": connection, "age_s": age,
    },
    names.filter(bool),
    st.sampled_from(["session.open", "sql.update", "update", "delete", "read", "approval.approve", "policy.change"]),
    st.sampled_from(["planner", "executor", "public.orders", "public.customers", "bob", "alice", ""]),
    st.sampled_from(["crm", "other", ""]),
    st.sampled_from([1, 10_000_000]),
)  # fmt: skip


@st.composite
def other_questions(draw: st.DrawFn) -> dict[str, Any]:
    """Of sessions, calls with what they ask for, reviews, requests, what is shown, and foreign resource types; of which
    some have a past."""
    calls = ["IssueSessionCredential", "Explain", "ListSessions", "Revoke"]
    rpcs = st.sampled_from([f"twokey.decision.v1.DecisionService/{name}" for name in calls])
    return {
        "subject": draw(subjects),
        "roles": draw(st.lists(st.sampled_from(["planner", "executor", "reviewer", "auditor", "admin"]), max_size=3)),
        "role": draw(st.sampled_from(["planner", "executor", "reviewer", ""])),
        "question": draw(st.sampled_from(["session", "call", "review", "request", "read", "access", "operation"])),
        "statement": draw(statements),
        "action": draw(st.sampled_from(["read", "delete", "purge"])),
        "kind": draw(st.sampled_from(["todo", "own"])),
        "caller": draw(st.sampled_from(["app", "other"])),
        "requests": draw(st.sampled_from([(0, 0), (99, 10), (100, 10), (1, 1000)])),
        "rpc": draw(rpcs | st.just("twokey.identity.v1.TokenExchange/Exchange")),
        "about": draw(st.sampled_from(["", "alice", "planner-1"])),
        "approval": draw(st.sampled_from(["pending", "approved"])),
        "actors": draw(st.lists(parties, max_size=2)),
        "context": draw(
            st.fixed_dictionaries(
                {
                    "scoped": st.booleans(),
                    "scopes": st.lists(st.sampled_from(["twokey:crm:execute", "twokey:*:*"]), max_size=2),
                    "sessions": st.lists(
                        st.fixed_dictionaries(
                            {
                                "role": st.sampled_from(["planner", "executor"]),
                                "connection": st.just("crm"),
                                "closure": st.lists(names.filter(bool), min_size=1, max_size=2),
                            }
                        ),
                        max_size=2,
                    ),
                    "history": st.fixed_dictionaries({"present": st.booleans(), "acts": st.lists(acts, max_size=3)}),
                    "credential": st.fixed_dictionaries(
                        {
                            "present": st.booleans(),
                            "kind": st.sampled_from(["password", "ssh-certificate"]),
                            "connection": st.sampled_from(["crm", "nowhere"]),
                            "role": st.sampled_from(["planner", "executor", "reviewer"]),
                            "uses": st.integers(1, 2),
                            "proved": st.booleans(),
                            "command": st.just(""),
                        }
                    ),
                }
            )
        ),
    }


def build_other(samples: Json, chosen: dict[str, Any]) -> Json:
    asked = harness.ask(samples, chosen["subject"], "begin")
    if chosen["question"] in {"read", "operation"}:
        asked = harness.ask(samples, chosen["subject"], chosen["statement"])
        if chosen["question"] == "read":
            asked["action"] = {"name": "statement.read", "verbs": []}
        asked["values"]["present"] = True
        asked["values"]["estimate"].update(state="known", rows=1)
        asked["question"] = chosen["question"]
        asked["subject"].update(roles=chosen["roles"], actors=list(chosen["actors"]))
        asked["context"].update(copy.deepcopy(chosen["context"]))
        return asked
    if chosen["question"] == "access":
        return {
            "version": 1,
            "question": "access",
            "subject": {**asked["subject"], "roles": chosen["roles"], "actors": list(chosen["actors"])},
            "action": {"name": chosen["action"], "verbs": []},
            "resource": {"type": "access", "id": "1", "kind": chosen["kind"], "environment": "", "subject": ""},
            "access": {
                "caller": chosen["caller"],
                "subject_type": "user",
                "entrypoint": {"present": False, "decision": False},
            },
            "context": {**asked["context"], "approval": copy.deepcopy(samples[chosen["approval"]])},
        }
    call = chosen["question"] == "call"
    asked["question"] = chosen["question"]
    asked["action"] = {"name": chosen["rpc"] if call else f"{chosen['question']}.open", "verbs": []}
    if call:
        rpc = {"type": "rpc", "id": chosen["rpc"], "kind": "", "environment": "", "subject": chosen["about"]}
        asked["resource"] = rpc
    asked["operation"]["kind"] = ""
    asked["subject"].update(roles=chosen["roles"], role=chosen["role"], actors=list(chosen["actors"]))
    asked["context"].update(copy.deepcopy(chosen["context"]))
    if chosen["question"] == "request":
        live, hour = chosen["requests"]
        asked["context"]["requests"] = {"present": True, "live": live, "hour": hour, "refused": 0}
    if chosen["question"] == "review":
        asked["context"]["approval"] = copy.deepcopy(samples[chosen["approval"]])
    return asked


@SLOW
@given(st.lists(st.tuples(other_questions(), parties, st.booleans()), min_size=30, max_size=60))
def test_tx_2_an_added_actor_only_narrows_every_other_question(
    policy: Path, dutiful: Path, fixtures: Json, chosen: list[tuple[dict[str, Any], dict[str, str], bool]]
) -> None:
    """With the shipped data, and with duties of every kind. DUTY-CHAIN, satisfied by a first actor, is in neither."""
    before = [build_other(fixtures, variation) for variation, _, _ in chosen]
    after = copy.deepcopy(before)
    for more, (_, actor, first) in zip(after, chosen, strict=True):
        more["subject"]["actors"].insert(0 if first else len(more["subject"]["actors"]), actor)
        more["subject"]["closure"] = sorted({*more["subject"]["closure"], actor["name"], actor["owner"]} - {""})
    for rules in (policy, dutiful):
        outcomes = [decision["outcome"] for decision in harness.decide_all(rules, [*before, *after])]
        for one, more_so in zip(outcomes[: len(before)], outcomes[len(before) :], strict=True):
            assert RANK[more_so] <= RANK[one]


@pytest.mark.parametrize(
    ("subject", "question", "more"),
    [
        ("executor", "session", {}),
        ("executor", "request", {"requests": (1, 1)}),
        ("carol", "access", {"kind": "todo", "action": "read", "caller": "app"}),
        ("executor", "read", {"statement": "select_orders"}),
        ("executor", "operation", {"statement": "select_orders"}),
        ("carol", "review", {"roles": ["reviewer"], "approval": "pending"}),
        ("carol", "call", {"roles": ["reviewer"], "rpc": "twokey.approval.v1.ApprovalService/Approve"}),
    ],
)
def test_tx_2_some_of_those_questions_are_allowed(
    policy: Path, dutiful: Path, fixtures: Json, subject: str, question: str, more: dict[str, Any]
) -> None:
    """Else the test above could not fail."""
    chosen: dict[str, Any] = {
        "subject": subject, "roles": ["executor"], "role": "executor", "question": question, "rpc": "", "about": "",
        "approval": "pending", "actors": [], "context": {"history": {"present": True, "acts": []}}, **more,
    }  # fmt: skip
    asked = build_other(fixtures, chosen)
    for rules in (dutiful,) if question == "access" else (policy, dutiful):
        decision = harness.decide_all(rules, [asked])[0]
        assert decision["outcome"] == "allow", decision


@SLOW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["session", "review", "call"]), st.lists(parties, max_size=2), parties, st.booleans()
        ),
        min_size=20,
        max_size=40,
    )
)
def test_an_added_actor_turns_no_denial_of_a_session_a_review_or_a_call(
    policy: Path, fixtures: Json, chosen: list[tuple[str, list[dict[str, str]], dict[str, str], bool]]
) -> None:
    """Of the same questions as above for operations: a denial stays one, whoever acts besides."""
    before, after = [], []
    for kind, actors, actor, first in chosen:
        asked: Json = copy.deepcopy(fixtures[kind])
        asked["subject"]["actors"] = list(actors)
        more = copy.deepcopy(asked)
        more["subject"]["actors"].insert(0 if first else len(actors), actor)
        more["subject"]["closure"] = sorted({*more["subject"]["closure"], actor["name"], actor["owner"]})
        before.append(asked)
        after.append(more)
    decisions = harness.decide_all(policy, [*before, *after])
    for without, with_it in zip(decisions[: len(before)], decisions[len(before) :], strict=True):
        assert RANK[with_it["outcome"]] <= RANK[without["outcome"]]


@SLOW
@given(st.lists(variations(), min_size=20, max_size=40))
def test_a_denial_survives_every_approval(policy: Path, fixtures: Json, chosen: list[dict[str, Any]]) -> None:
    bare = [build(fixtures, {**one, "approval": None}) for one in chosen]
    approved = [build(fixtures, {**one, "approval": "approved"}) for one in chosen]
    decisions = harness.decide_all(policy, [*bare, *approved])
    for without, with_it in zip(decisions[: len(bare)], decisions[len(bare) :], strict=True):
        if without["outcome"] == "deny" and not without["needs"]:
            assert with_it["outcome"] == "deny"


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "operation", "planner", "sql"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["version", "question", "subject", "operation", "sql", "values", "roles", "context"]), inner
        )
    ),
    max_leaves=8,
)


@SLOW
@given(st.lists(junk, min_size=20, max_size=40))
def test_junk_is_denied_never_undefined(policy: Path, chosen: list[object]) -> None:
    for decision in harness.decide_all(policy, chosen):
        assert check_result(decision, revision="r", on_shape=True).outcome == "deny"


def fields(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every member of a question."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in [(*path, key), *fields(inner, (*path, key))]]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in fields(inner, (*path, index))]
    return []


@pytest.mark.parametrize(
    ("subject", "statement"),
    [
        ("planner", "select_email"),
        ("planner", "update_orders"),
        ("executor", "delete_orders"),
        ("executor", "do_block"),
    ],
)
def test_a_missing_field_only_narrows(policy: Path, fixtures: Json, subject: str, statement: str) -> None:
    whole = harness.ask(fixtures, subject, statement)
    paths = [path for path in fields(whole) if path[0] != "context" or path[1:2] == ("approval",)]
    assert len(paths) > 50
    damaged = []
    for path in paths:
        copied: Any = copy.deepcopy(whole)
        inner = copied
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
        damaged.append(copied)
    first, *rest = harness.decide_all(policy, [whole, *damaged])
    for path, decision in zip(paths, rest, strict=True):
        assert RANK[decision["outcome"]] <= RANK[first["outcome"]], path


def test_the_questions_of_the_tests_match_the_schema(fixtures: Json) -> None:
    schema = json.loads((REGO / "schemas" / "input.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    asked = [fixtures[kind] for kind in ("operation", "session", "review", "call")]
    asked += [harness.ask(fixtures, "planner", statement) for statement in fixtures["statements"]]
    for question in asked:
        validator.validate(question)
