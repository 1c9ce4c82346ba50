"""Duties on the whole service, on both stores: the shipped policy on real OPA, with policy data of one's own.

P17, P18, P19 and RB-1 to RB-5, named after their lines: what an agent tries by a second session, a sub-agent or by
being quick.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2

from decision.model import new_id
from decision.policy.bundle import shipped_rego
from tests.decision.running import PEOPLE, Running, operation, running

ALLOW, DENY = type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_DENY
HOLD = type_pb2.OUTCOME_REQUIRE_APPROVAL
WALL = "walls: [{name: banks, datasets: {bank-1: [crm], bank-2: [billing]}}]\n"
PROCESS = """processes:
  - name: paying
    per: relation
    limit: 2
    steps:
      - {name: enter, access: [insert], relations: [public.orders]}
      - {name: change, access: [update], relations: [public.orders]}
"""


class Starting:
    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self._ending = AsyncExitStack()

    async def __call__(
        self,
        duties: str,
        review: str = "{role: reviewer}",
        *,
        quorum: int = 1,
        people: str | None = None,
        static: str = "",
    ) -> Running:
        data = self._folder / "data"
        data.mkdir()
        shipped = (shipped_rego() / "data" / "duties.yaml").read_text()
        assert "review: {role: reviewer}\n" in shipped
        if static:
            before, _, rest = shipped.partition("static:\n")
            shipped = f"{before}static:\n{static}dynamic:\n{rest.partition('dynamic:')[2].lstrip(chr(10))}"
        (data / "duties.yaml").write_text(shipped.replace("review: {role: reviewer}\n", f"review: {review}\n") + duties)
        if quorum > 1:
            (data / "approvals.yaml").write_text(
                f"default: {{groups: [dba], quorum: {quorum}, expires_s: 3600}}\nrules: {{}}\n"
            )
        return await self._ending.enter_async_context(running(self._folder, data=data, store=self._url, people=people))

    async def close(self) -> None:
        await self._ending.aclose()


@pytest.fixture
async def start(tmp_path: Path, url: str) -> AsyncIterator[Starting]:
    starting = Starting(tmp_path, url)
    yield starting
    await starting.close()


def rules(decision: Any) -> set[str]:
    return {reason.rule for reason in decision.reasons}


async def ended(run: Running, session: str) -> None:
    await run.decision.CloseSession(
        decision_pb2.CloseSessionRequest(session=session), metadata=run.enforcer, timeout=20
    )


def step(verb: str) -> operation_pb2.Operation:
    made = operation(f"{verb} {new_id('op')}", verb)
    made.sql.most_rows = 1
    return made


async def test_p17_rb3_two_steps_at_once_that_together_break_a_duty_one_wins(start: Starting) -> None:
    """RB-3: both are shown a past without the other; whoever is noted first wins, the other is asked about again."""
    run = await start(PROCESS)
    agents = [await run.session("executor-7", "executor"), await run.session("alice", "executor")]
    for round_ in range(6):
        made = [step("insert"), step("update")]
        for one in made:
            one.sql.relations[0].name = "orders"
        answers = await asyncio.gather(*(run.decide(who, one) for who, one in zip(agents, made, strict=True)))
        outcomes = [one.decision.outcome for one in answers]
        if round_ == 0:
            assert sorted(outcomes) == [ALLOW, DENY]
        lost = answers[outcomes.index(DENY)].decision
        assert rules(lost) == {"DUTY-PROCESS"}
        assert outcomes.count(ALLOW) == 1
    assert not any(one.decision.HasField("lease") for one in answers)


async def test_rb3_another_principal_does_the_other_step(start: Starting) -> None:
    run = await start(PROCESS)
    hers, his = await run.session("executor-7", "executor"), await run.session("bob", "executor")
    assert (await run.decide(hers, step("insert"))).decision.outcome == ALLOW
    assert (await run.decide(hers, step("insert"))).decision.outcome == ALLOW
    refused = (await run.decide(hers, step("update"))).decision
    assert (refused.outcome, rules(refused)) == (DENY, {"DUTY-PROCESS"})
    assert "change, enter of paying" in refused.reasons[0].reason
    assert (await run.decide(his, step("update"))).decision.outcome == ALLOW
    read = step("select")
    assert (await run.decide(hers, read)).decision.outcome == ALLOW


async def test_p18_rb5_the_wall_stands_for_sub_agents_and_later_sessions(start: Starting) -> None:
    run = await start(WALL.replace("[billing]", "[crm-2]").replace("[crm]", "[crm]"))
    first = await run.session("executor-7", "executor")
    await ended(run, first)
    again = await run.open("executor-7", "executor")
    assert again.session.id  # the same dataset
    other = await run.open("executor-7", "executor", connection="crm-2")
    assert rules(other.decision) == {"DUTY-WALL", "DUTY-WALL-WRITE"}
    token = run.token("bob", "planner", actors=["executor-7"])  # alice's agent, now for bob
    sub = await run.open("bob", "planner", connection="crm-2", token=token)
    assert "DUTY-WALL" in rules(sub.decision)
    assert (await run.open("bob", "planner", connection="crm-2")).session.id


INNER = """inner_walls:
  - {name: banks, datasets: {bank-1: {relations: [public.first]}, bank-2: {labels: [pan]}}}
"""


def reading(relation: str, verb: str = "select") -> operation_pb2.Operation:
    made = step(verb)
    made.sql.relations[0].name = relation
    return made


async def test_p18_rb5_the_wall_inside_a_connection_by_relation_and_by_label(start: Starting, tmp_path: Path) -> None:
    run = await start(INNER)
    (tmp_path / "crm.yaml").write_text("public.second.number: pan\n")
    await run.service.reload()
    hers, owners = await run.session("executor-7", "executor"), await run.session("alice", "executor")
    his = await run.session("bob", "executor")
    free = await run.decide(hers, reading("elsewhere"))
    first = await run.decide(hers, reading("first"))
    assert [one.decision.outcome for one in (free, first)] == [ALLOW, ALLOW]
    assert not first.decision.HasField("lease")
    for session in (hers, owners):  # the agent's, and its owner's own
        other = (await run.decide(session, reading("second"))).decision
        assert (other.outcome, rules(other)) == (DENY, {"DUTY-WALL-INSIDE"})
    carried = (await run.decide(hers, reading("elsewhere", "insert"))).decision
    assert (carried.outcome, rules(carried)) == (DENY, {"DUTY-WALL-CARRY"})
    assert (await run.decide(hers, reading("first", "insert"))).decision.outcome == ALLOW
    assert (await run.decide(his, reading("second"))).decision.outcome == ALLOW
    assert (await run.decide(his, reading("first"))).decision.outcome == DENY


async def test_p17_rb5_both_sides_of_the_wall_inside_at_once_one_wins(start: Starting, tmp_path: Path) -> None:
    run = await start(INNER.replace("labels: [pan]", "relations: [public.second]"))
    sessions = [await run.session("executor-7", "executor"), await run.session("alice", "executor")]
    asked = zip(sessions, (reading("first"), reading("second")), strict=True)
    answers = await asyncio.gather(*(run.decide(who, one) for who, one in asked))
    assert sorted(one.decision.outcome for one in answers) == [ALLOW, DENY]


async def test_p18_both_sides_of_a_wall_at_once_one_wins(start: Starting) -> None:
    run = await start(WALL.replace("billing", "crm-2"))
    opened = await asyncio.gather(run.open("executor-7", "executor"), run.open("alice", "executor", connection="crm-2"))
    assert sorted(bool(one.session.id) for one in opened) == [False, True]


async def test_p19_rb2_exclusive_roles_in_two_sessions_of_one_closure(start: Starting) -> None:
    run = await start("")
    opened = await asyncio.gather(run.open("executor-7", "executor"), run.open("alice", "planner"))
    assert sorted(bool(one.session.id) for one in opened) == [False, True]
    (denied,) = (one for one in opened if not one.session.id)
    assert rules(denied.decision) == {"DUTY-DYNAMIC"}


async def test_cooling_off_counts_from_the_end_of_the_other_role(start: Starting) -> None:
    run = await start("cooling: [{name: hands-off, after: [planner], roles: [executor], hours: 1}]\n")
    await ended(run, await run.session("alice", "planner"))
    refused = await run.open("executor-7", "executor")
    assert rules(refused.decision) == {"DUTY-COOLING"}
    assert (await run.open("bob", "executor")).session.id


async def held(run: Running, agent: str, role: str = "executor") -> str:
    session = await run.session(agent, role)
    decision = (await run.decide(session, step("delete"))).decision
    assert decision.outcome == HOLD, decision
    return str(decision.approval.id)


async def approve(run: Running, approval: str, who: str) -> Any:
    request = approval_pb2.ApproveRequest(id=approval, reason="ok")
    return await run.approval.Approve(request, metadata=run.bearer(who, "reviewer"), timeout=20)


async def test_two_who_approve_for_each_other_at_once_one_wins(start: Starting) -> None:
    """No-reciprocal rings: alice for bob's act, bob for alice's agent's act."""
    run = await start("", review="{role: reviewer, reciprocal_days: 7}")
    of_alice, of_bob = await held(run, "executor-7"), await held(run, "bob")
    answers = await asyncio.gather(approve(run, of_alice, "bob"), approve(run, of_bob, "alice"), return_exceptions=True)
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert len(refused) == 1
    assert "DUTY-REVIEW-RING" in str(refused[0].details())


async def test_who_changed_policy_may_not_approve_under_it(start: Starting) -> None:
    run = await start("", review="{role: reviewer, policy_author_days: 2}")
    approval = await held(run, "executor-7")
    await run.service.store.history.policy_changed([("bob",)])
    with pytest.raises(grpc.aio.AioRpcError, match="DUTY-POLICY-AUTHOR"):
        await approve(run, approval, "bob")


REVIEWERS = PEOPLE.replace(
    "agents:",
    """  - {name: dave, identities: [{iss: "https://idp.example", sub: d1}], groups: [dba]}
  - {name: erin, identities: [{iss: "https://idp.example", sub: e1}], groups: [dba]}
agents:""",
)


class Held:
    """An act of executor-7's (alice's agent) that waits for several people."""

    def __init__(self, run: Running) -> None:
        self.run = run
        self._statement = f"DELETE {new_id('op')}"

    async def ask(self) -> Held:
        self._session = await self.run.session("executor-7", "executor")
        self.approval = str((await self._decide()).approval.id)
        return self

    async def _decide(self, **fields: str) -> Any:
        made = operation(self._statement, "delete")
        return (await self.run.decide(self._session, made, **fields)).decision

    async def approve(self, who: str) -> int:
        return int((await approve(self.run, self.approval, who)).state)

    async def redeemed(self) -> Any:
        return await self._decide(approval=self.approval)


async def test_rb4_n_approvals_of_n_disjoint_closures_none_the_requesters(start: Starting) -> None:
    run = await start("", quorum=2, people=REVIEWERS)
    held = await Held(run).ask()
    with pytest.raises(grpc.aio.AioRpcError, match="DUTY-REVIEW-SELF"):
        await held.approve("alice")
    assert await held.approve("bob") == approval_pb2.STATE_PENDING
    with pytest.raises(grpc.aio.AioRpcError, match="DUTY-REVIEW-TWICE"):
        await held.approve("bob")
    refused = await held.redeemed()
    assert refused.outcome == DENY
    assert await held.approve("dave") == approval_pb2.STATE_APPROVED
    assert (await held.redeemed()).outcome == ALLOW


async def test_rb4_more_than_enough_at_once_is_enough(start: Starting) -> None:
    run = await start("", quorum=2, people=REVIEWERS)
    held = await Held(run).ask()
    given = await asyncio.gather(*(held.approve(who) for who in ("bob", "dave", "erin")), return_exceptions=True)
    assert approval_pb2.STATE_APPROVED in given
    assert (await held.redeemed()).outcome == ALLOW


@pytest.mark.parametrize("what", [{"party": "dave"}, {"role": "reviewer"}])
async def test_rb4_a_later_revoked_approver_is_not_counted(start: Starting, what: dict[str, str]) -> None:
    """Neither at redemption nor towards the number; what the others said stays."""
    run = await start("", quorum=2, people=REVIEWERS)
    done, half = await Held(run).ask(), await Held(run).ask()
    await done.approve("dave")
    assert await done.approve("bob") == approval_pb2.STATE_APPROVED
    await half.approve("dave")
    await run.decision.Revoke(
        decision_pb2.RevokeRequest(reason="left", **what), metadata=run.bearer("carol", "admin"), timeout=20
    )
    refused = await done.redeemed()
    assert refused.outcome == DENY
    assert "service.approval-insufficient" in rules(refused)
    if "role" in what:
        return  # whose tokens are of the same second, for all of them
    assert await half.approve("bob") == approval_pb2.STATE_PENDING
    assert await half.approve("erin") == approval_pb2.STATE_APPROVED
    assert (await half.redeemed()).outcome == ALLOW


async def test_rb4_who_left_the_group_meanwhile_is_not_counted(start: Starting, tmp_path: Path) -> None:
    """People are those of the redemption, not of the review."""
    run = await start("", quorum=2, people=REVIEWERS)
    held = await Held(run).ask()
    await held.approve("bob")
    assert await held.approve("dave") == approval_pb2.STATE_APPROVED
    left = REVIEWERS.replace("sub: d1}], groups: [dba]", "sub: d1}], groups: []")
    assert left != REVIEWERS
    (tmp_path / "people.yaml").write_text(left)
    await run.service.reload()
    assert (await held.redeemed()).outcome == DENY


async def test_a_window_that_is_shut_lets_nobody_in(start: Starting) -> None:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    another = days[(datetime.now(UTC).weekday() + 3) % 7]
    run = await start(
        f"windows: [{{name: w, roles: [executor], days: [{another}], from: '00:00', to: '23:59', zone: UTC}}]\n"
    )
    assert rules((await run.open("executor-7", "executor")).decision) == {"DUTY-WINDOW"}
    assert (await run.open("planner-3", "planner")).session.id


async def test_t21_where_a_chain_is_asked_for_nobody_works_alone_whatever_it_says(start: Starting) -> None:
    """A chain is in the token and signed; what stands in the call or in a token of one's own making is none."""
    run = await start("chains: [{name: on-behalf, roles: [executor]}]\n")
    assert run.service.dev_issuer is not None
    alone, acting = run.token("executor-7", "executor"), run.token("alice", "executor", actors=["executor-7"])
    assert rules((await run.open("", "executor", token=alone)).decision) == {"DUTY-CHAIN"}
    head, body, signature = alone.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["act"] = {"iss": "urn:twokey:dev", "sub": "carol"}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert (
        await run.open("", "executor", token=f"{head}.{forged}.{signature}")
    ).decision.reason_code == "TOKEN_SIGNATURE"
    request = decision_pb2.OpenSessionRequest(token=alone, connection="crm", role="executor", enforcer="enf-1")
    request.protocol, request.client_address = "postgres", "127.0.0.1:5"
    request.MergeFromString(b"\xba\x3e\x05carol")  # field 999
    with pytest.raises(grpc.aio.AioRpcError, match="fields that this service doesn't know"):
        await run.decision.OpenSession(request, metadata=run.enforcer, timeout=20)
    assert (await run.open("", "executor", token=acting)).session.id
    assert (await run.open("planner-3", "planner")).session.id


async def test_rb1_only_assigned_roles_are_taken_up(start: Starting) -> None:
    run = await start("assignments: {executor-7: [executor], bob: [planner]}\n")
    assert (await run.open("executor-7", "executor")).session.id
    assert rules((await run.open("bob", "executor")).decision) == {"DUTY-ASSIGNED"}


async def test_rb1_a_token_with_exclusive_roles_opens_nothing_inherited_ones_included(start: Starting) -> None:
    """Static, by cardinality n: two of three are carried by one token, the third by inheritance."""
    sets = "hierarchy: {executor: [auditor]}\n"
    run = await start(sets, static="  - {name: three, roles: [planner, executor, auditor], limit: 3}\n")
    both = await run.open("bob", "planner", token=run.token("bob", "planner", "executor"))
    assert rules(both.decision) == {"DUTY-STATIC"}
    assert (await run.open("bob", "planner")).session.id


async def test_a_change_is_recorded_with_who_made_it_and_remembered(start: Starting, tmp_path: Path) -> None:
    """The account that owns the changed file, whoever people.yaml says that is, approves nothing afterwards."""
    run = await start("", review="{role: reviewer, policy_author_days: 2}")
    account = pwd.getpwuid(os.getuid()).pw_name
    people = tmp_path / "people.yaml"
    identity = f'{{iss: "https://idp.example", sub: b1}}, {{iss: "urn:twokey:os", sub: {account}}}'
    people.write_text(people.read_text().replace('{iss: "https://idp.example", sub: b1}', identity))
    await run.service.reload()
    async with asyncio.timeout(20):
        while not (await run.service.store.history.read(["bob"])).acts:  # noqa: ASYNC110 - recorded behind the reload
            await asyncio.sleep(0.01)
    records = [orjson.loads(line) async for _, line in run.service.log.read(0, None)]
    last = [one for one in records if one["kind"] == "policy"][-1]
    assert last["changed"] == [{"file": str(people), "owner": account}]
    assert last["by"] == ["bob"]
    approval = await held(run, "executor-7")
    with pytest.raises(grpc.aio.AioRpcError, match="DUTY-POLICY-AUTHOR"):
        await approve(run, approval, "bob")


async def test_what_changed_while_the_service_was_down_has_an_author(tmp_path: Path) -> None:
    """Role maps and environments come with a start; so may people, while nobody looks."""
    account = pwd.getpwuid(os.getuid()).pw_name
    configuration = tmp_path / "twokey.yaml"
    configuration.write_text("# read by the supervisor\n")
    document: dict[str, Any] = {"configuration": str(configuration)}
    issuer = {"issuer": "https://idp.example", "audience": "twokey", "profile": "rfc9068"}
    mapped = {**issuer, "roles": {"claim": "groups", "map": {"a": "planner"}}}
    connection = {"name": "crm", "kind": "postgres", "environment": "production", "classification": None}
    second = {**connection, "name": "crm-2"}
    starts: list[tuple[Any, list[str]]] = [
        ({"document": {**document, "connections": [connection, second]}}, []),
        ({"document": {**document, "connections": [connection, second]}}, []),  # nothing has changed
        (
            {"document": {**document, "connections": [{**connection, "environment": "test"}, second]}},
            [str(configuration)],
        ),
        (
            {"document": {**document, "connections": [connection, second]}, "issuers": [mapped]},
            [str(configuration)],
        ),
        (
            {
                "document": {**document, "connections": [connection, second]},
                "issuers": [mapped],
                "people": PEOPLE.replace("sub: b1}", f'sub: b1}}, {{iss: "urn:twokey:os", sub: {account}}}'),
            },
            [str(tmp_path / "people.yaml")],
        ),
    ]
    for how, files in starts:
        async with running(tmp_path, **how) as run:
            records = [orjson.loads(line) async for _, line in run.service.log.read(0, None)]
            last = [one for one in records if one["kind"] == "policy"][-1]
            assert last["reason"] == "start"
            assert last.get("changed", []) == [{"file": file, "owner": account} for file in files]
            noted = (await run.service.store.history.read(["bob"])).acts
    assert last["by"] == ["bob"]
    assert [one.act for one in noted] == ["policy.change"]


async def test_each_change_of_what_decides_is_recorded_with_the_new_revision_and_who(
    start: Starting, tmp_path: Path
) -> None:
    """People, classification and obligations; environments and role maps come with a restart
    (tests/decision/policy/test_bundle.py has them in the revision)."""
    run = await start("")
    account = pwd.getpwuid(os.getuid()).pw_name
    files = {
        tmp_path / "people.yaml": PEOPLE.replace("groups: [dba]", "groups: [dba, owners]", 1),
        tmp_path / "crm.yaml": "public.customers.phone: phone\n",
        tmp_path / "data" / "obligations.yaml": "session: []\nact: []\n",
    }
    revisions = [run.service.engine.revision]
    for file, text in files.items():
        file.write_text(text)
        await run.service.reload()
        revisions.append(run.service.engine.revision)
    assert len(set(revisions)) == 4
    found: list[Any] = []
    async with asyncio.timeout(20):
        while len(found) < 3:  # recorded behind the reload
            await asyncio.sleep(0.01)
            records = [orjson.loads(line) async for _, line in run.service.log.read(0, None)]
            found = [one for one in records if one["kind"] == "policy" and one.get("changed")]
    assert [one["revision"] for one in found] == revisions[1:]
    assert [one["changed"] for one in found] == [[{"file": str(file), "owner": account}] for file in files]
