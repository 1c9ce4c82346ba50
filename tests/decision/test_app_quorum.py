"""Quorums of approvals.yaml on the running service: real OPA and policy, real store and gRPC, and a redemption each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from twokey.approval.v1 import approval_pb2

from tests.decision.running import PEOPLE, Running, comes, operation, running
from tests.decision.test_attacks import ALLOW, DENY, HOLD, delete, held, state, verdict

KNOWN = PEOPLE.replace(
    "agents:\n",
    '  - {name: dana, identities: [{iss: "https://idp.example", sub: d1}], groups: [security]}\n'
    '  - {name: erin, identities: [{iss: "https://idp.example", sub: e1}], groups: [dba, security]}\n'
    '  - {name: finn, identities: [{iss: "https://idp.example", sub: f1}], groups: [staff]}\n'
    "agents:\n",
)
BOTH = "all: [{groups: [dba]}, {groups: [security]}]"


@asynccontextmanager
async def under(folder: Path, terms: str, more: str = "") -> AsyncIterator[Running]:
    """A service whose every rule holds under these terms."""
    data = folder / "data"
    data.mkdir()
    (data / "approvals.yaml").write_text(text(terms, more))
    async with running(folder, data=data, people=KNOWN) as run:
        yield run


def text(terms: str, more: str = "") -> str:
    return f"default: {{expires_s: 3600, {terms}}}\nrules: {{}}\n{more}"


async def used(run: Running, session: str, approval: str) -> int:
    return int((await run.decide(session, delete(), approval=approval)).decision.outcome)


async def test_all_of_several_groups_answer_and_nobody_for_two(tmp_path: Path) -> None:
    async with under(tmp_path, BOTH) as run:
        session, approval = await held(run)
        assert await verdict(run, approval, "erin") == "STATE_PENDING"  # of both groups, and counts for one
        assert not (await verdict(run, approval, "erin")).startswith("STATE_")
        assert await used(run, session, approval) == DENY
        assert await verdict(run, approval, "bob") == "STATE_APPROVED"
        assert await used(run, session, approval) == ALLOW


async def test_stages_answer_in_their_order(tmp_path: Path) -> None:
    async with under(tmp_path, "stages: [{groups: [dba]}, {groups: [security]}]") as run:
        session, approval = await held(run)
        early = await verdict(run, approval, "dana")
        assert not early.startswith("STATE_")
        assert await verdict(run, approval, "bob") == "STATE_PENDING"
        assert await verdict(run, approval, "dana") == "STATE_APPROVED"
        assert await used(run, session, approval) == ALLOW


async def test_a_deputy_answers_for_whom_it_stands_in_and_for_nobody_else(tmp_path: Path) -> None:
    deputies = "deputies: [{for: bob, by: finn}, {for: alice, by: carol}]\n"
    async with under(tmp_path, "groups: [dba], quorum: 1", deputies) as run:
        session, approval = await held(run)
        said = await verdict(run, approval, "carol")  # the deputy of the requester's owner
        assert not said.startswith("STATE_")
        assert await state(run, approval) == "STATE_PENDING"
        assert await verdict(run, approval, "finn") == "STATE_APPROVED"
        assert await used(run, session, approval) == ALLOW


async def test_a_verdict_cools_off_and_a_no_still_comes(tmp_path: Path) -> None:
    async with under(tmp_path, "groups: [dba], quorum: 1, cooling_s: 3") as run:
        session, first = await held(run)
        second = str((await run.decide(session, delete(2))).decision.approval.id)
        assert await verdict(run, first, "bob") == "STATE_PENDING"
        assert await verdict(run, second, "bob") == "STATE_PENDING"
        assert await used(run, session, first) == DENY
        assert await verdict(run, second, "erin", approve=False) == "STATE_DENIED"
        await comes(run, first, approval_pb2.STATE_APPROVED)  # by itself: the sweeper asks again
        assert await used(run, session, first) == ALLOW
        assert await state(run, second) == "STATE_DENIED"


async def test_a_stronger_quorum_reopens_and_a_weaker_one_is_satisfied(tmp_path: Path) -> None:
    async with under(tmp_path, "groups: [dba], quorum: 1") as run:
        session, approval = await held(run)
        assert await verdict(run, approval, "bob") == "STATE_APPROVED"
        (tmp_path / "data" / "approvals.yaml").write_text(text(BOTH))
        await run.service.reload()
        answer = await run.decide(session, delete(), approval=approval)
        assert (answer.decision.outcome, answer.decision.reason_code) == (DENY, "APPROVAL_PENDING")
        assert answer.decision.approval.id == approval
        found = await run.approval.Get(approval_pb2.GetRequest(id=approval), metadata=run.enforcer, timeout=20)
        assert (list(found.groups), found.quorum, len(found.verdicts)) == (["dba", "security"], 2, 1)
        assert (await run.decide(session, delete())).decision.outcome == HOLD  # it waits, for the same request
        assert await verdict(run, approval, "dana") == "STATE_APPROVED"
        (tmp_path / "data" / "approvals.yaml").write_text(text("groups: [dba], quorum: 1"))
        await run.service.reload()
        assert await used(run, session, approval) == ALLOW


async def test_more_than_were_asked_for_satisfies(tmp_path: Path) -> None:
    async with under(tmp_path, "groups: [dba, security], quorum: 3") as run:
        session, approval = await held(run)
        for who, after in (("bob", "PENDING"), ("erin", "PENDING"), ("dana", "APPROVED")):
            assert await verdict(run, approval, who) == f"STATE_{after}"
        (tmp_path / "data" / "approvals.yaml").write_text(text("groups: [dba], quorum: 1"))
        await run.service.reload()
        other = operation("DELETE FROM orders WHERE id = 1 -- other", "delete")
        assert (await run.decide(session, other, approval=approval)).decision.outcome == DENY
        assert await used(run, session, approval) == ALLOW


async def test_a19_a_verdict_of_weight_needs_a_login_that_a_plain_token_does_not_show(tmp_path: Path) -> None:
    async with under(tmp_path, "groups: [dba], quorum: 1, step_up: {acr: [phr], max_age_s: 300}") as run:
        _, approval = await held(run)
        said = await verdict(run, approval, "bob")
        assert not said.startswith("STATE_")
        assert await state(run, approval) == "STATE_PENDING"
        listed = await run.approval.List(approval_pb2.ListRequest(), metadata=run.bearer("bob", "reviewer"), timeout=20)
        assert [one.id for one in listed.approvals] == [approval]  # who may not answer yet sees it all the same
