"""Who reads which constants, on the whole service: approvals and the log, by the reader's roles."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from twokey.approval.v1 import approval_pb2
from twokey.audit.v1 import audit_pb2
from twokey.type.v1 import operation_pb2

from decision.cli import story
from decision.cli.commands import approvals as approvals_command
from decision.model import Subject, new_id
from decision.policy.bundle import shipped_rego
from tests.decision.running import Running, operation, running

SECRET = "canary@secret.example"
TEXT = f"DELETE FROM customers WHERE email = '{SECRET}' AND id = 4711 AND email <> $1 -- {SECRET}"
REVIEWERS = '  reviewer: ["*"]\n'
SHA = hashlib.sha256(TEXT.encode()).hexdigest()


def column(message: Any, name: str) -> None:
    message.add(schema="public", relation="customers", column=name)


def held() -> operation_pb2.Operation:
    """A DELETE that waits for an approval, and what its constants met."""
    asked = operation(TEXT, "delete")
    asked.sql.columns.add(schema="public", relation="customers", column="email", use="other")
    column(asked.sql.literals.add(constant=1).columns, "email")
    column(asked.sql.literals.add(constant=2).columns, "id")
    column(asked.sql.literals.add(parameter=1).columns, "email")
    asked.sql.values.bound.add(type_oid=25, value=SECRET.encode())
    asked.sql.values.estimate_unknown, asked.sql.values.estimate_unknown_why = True, f"no such {SECRET}"
    return asked


async def log(run: Running, who: str, role: str, **fields: Any) -> list[dict[str, Any]]:
    stream = run.audit.Read(audit_pb2.ReadRequest(**fields), metadata=run.bearer(who, role), timeout=20)
    return [orjson.loads(response.record) async for response in stream]


def everywhere(record: Any) -> str:
    """All text of a record, what is base64 read."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str):
            found.append(value)
            try:
                found.append(base64.b64decode(value, validate=True).decode(errors="replace"))
            except ValueError:
                return

    walk(record)
    return "\n".join(found)


def cleared(folder: Path, lines: str) -> Path:
    """The shipped policy data, where these lines stand in place of what reviewers see."""
    data = folder / "data"
    data.mkdir()
    shipped = (shipped_rego() / "data" / "masking.yaml").read_text()
    assert REVIEWERS in shipped
    (data / "masking.yaml").write_text(shipped.replace(REVIEWERS, lines))
    return data


async def test_a_reviewer_sees_the_act_without_the_values_of_labels_it_may_not_see(tmp_path: Path) -> None:
    async with running(tmp_path, data=cleared(tmp_path, "")) as run:
        session = await run.session("executor-7", "executor")
        answer = await run.decide(session, held())
        name = answer.decision.approval.id
        assert name, answer
        bob = run.bearer("bob", "reviewer")
        got = await run.approval.Get(approval_pb2.GetRequest(id=name), metadata=bob, timeout=20)
        listed = await run.approval.List(approval_pb2.ListRequest(), metadata=bob, timeout=20)
        watch = run.approval.Watch(approval_pb2.WatchRequest(ids=[name]), metadata=bob, timeout=20)
        watched = [await watch.read()]
        watch.cancel()
        approved = await run.approval.Approve(
            approval_pb2.ApproveRequest(id=name, reason="ok"), metadata=bob, timeout=20
        )
        for approval in (got, *listed.approvals, *watched, approved):
            assert SECRET.encode() not in approval.SerializeToString()
            values = approval.operation.sql.values
            assert values.statement.decode() == (
                "DELETE FROM customers WHERE email = ‹email› AND id = 4711 AND email <> $1 ‹email›"
            )
            assert values.bound[0].value.decode() == "‹email›"
            assert list(values.redacted) == ["email"]
            assert values.statement_sha256.hex() == SHA
            assert approval.operation.digest == held().digest
        shown = "\n".join(approvals_command.describe(got))
        assert SHA in shown
        assert "hidden from you: email" in shown
        # The enforcer holds the act, and needs all of it; so does a reviewer who is also an executor.
        whole = await run.approval.Get(approval_pb2.GetRequest(id=name), metadata=run.enforcer, timeout=20)
        assert whole.operation.sql.values.statement.decode() == TEXT
        both = run.bearer("bob", "reviewer", "executor")
        whole = await run.approval.Get(approval_pb2.GetRequest(id=name), metadata=both, timeout=20)
        assert whole.operation.sql.values.statement.decode() == TEXT
        # What was approved is what runs: redaction is for eyes only.
        again = held()
        redeemed = await run.decide(session, again, approval=name)
        assert redeemed.execution


async def test_an_auditor_reads_the_log_without_them_and_the_log_keeps_them(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        session = await run.session("executor-7", "executor")
        answer = await run.decide(session, held())
        bob = run.bearer("bob", "reviewer")
        await run.approval.Approve(
            approval_pb2.ApproveRequest(id=answer.decision.approval.id), metadata=bob, timeout=20
        )
        records = await log(run, "carol", "auditor")
        assert SECRET not in everywhere(records)
        assert {"decision", "approval"} <= {record["kind"] for record in records if "redacted" in record}
        (decision,) = [record for record in records if record["kind"] == "decision"]
        assert decision["redacted"] == ["email"]
        assert decision["statement_sha256"] == SHA
        assert decision["digest"] == held().digest.hex()
        told = "\n".join(story.story(records))
        assert "id = 4711" in told
        assert f"hidden from you: email; SHA-256 of the statement {SHA}" in told
        assert SECRET in everywhere([orjson.loads(raw) async for _, raw in run.service.log.read(0, None)])
        # By operation, and following: the same.
        assert SECRET not in everywhere(await log(run, "carol", "auditor", operation=decision["operation"]))
        whole = run.audit.Read(
            audit_pb2.ReadRequest(operation=decision["operation"]),
            metadata=run.bearer("carol", "auditor", "executor"),
            timeout=20,
        )
        assert SECRET in everywhere([orjson.loads(response.record) async for response in whole])


async def test_a_label_that_is_cleared_for_the_reader_is_read(tmp_path: Path) -> None:
    data = cleared(tmp_path, "  auditor: [email]\n")
    async with running(tmp_path, data=data) as run:
        await run.decide(await run.session("executor-7", "executor"), held())
        raw = [raw async for _, raw in run.service.log.read(0, None)]
        stream = run.audit.Read(audit_pb2.ReadRequest(), metadata=run.bearer("carol", "auditor"), timeout=20)
        read = [response.record async for response in stream]
        assert read[: len(raw)] == raw  # byte for byte: nothing is written anew where nothing is hidden


async def test_what_touches_nothing_classified_is_read_as_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.decide(await run.session("executor-7", "executor"), operation("DELETE FROM orders", "delete"))
        raw = [raw async for _, raw in run.service.log.read(0, None)]
        stream = run.audit.Read(audit_pb2.ReadRequest(), metadata=run.bearer("carol", "auditor"), timeout=20)
        assert [response.record async for response in stream][: len(raw)] == raw


async def test_what_nobody_can_see_through_is_hidden_as_a_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        session = await run.session("executor-7", "executor")
        block = operation(f"DO $$ BEGIN PERFORM '{SECRET}'; END $$", "do")
        block.sql.opaque = True
        await run.decide(session, block)
        broken = operation(f"SELECT '{SECRET}'", "select")
        broken.digest = b"too short"  # denied before anybody describes it
        await run.decide(session, broken)
        records = await log(run, "carol", "auditor")
        assert SECRET not in everywhere(records)
        assert sum("redacted" in record for record in records) == 2


def leased(decision: str, operation_id: str) -> audit_pb2.Act:
    act = audit_pb2.Act(operation=operation_id, sequence=1)
    act.intent.decision, act.intent.digest, act.intent.shape_digest = decision, b"d" * 32, b"s" * 32
    act.intent.statement = f"SELECT id FROM customers WHERE email = '{SECRET}' LIMIT 3".encode()
    act.intent.bound.add(type_oid=25, value=SECRET.encode())
    act.intent.time.CopyFrom(Timestamp(seconds=1_700_000_000))
    return act


@pytest.mark.parametrize("known", [True, False])
async def test_acts_under_a_lease_are_described_by_its_decision_or_hidden(tmp_path: Path, known: bool) -> None:
    async with running(tmp_path) as run:
        session = await run.session("executor-7", "executor")
        asked = operation(f"SELECT id FROM customers WHERE email = '{SECRET}' LIMIT 3", "select", rows=1)
        asked.sql.inferences.add(schema="public", relation="customers", column="email", kind="where")
        column(asked.sql.literals.add(constant=1).columns, "email")
        asked.sql.literals.add(constant=2)
        answer = await run.decide(session, asked)
        act = leased(answer.decision.id if known else new_id("dec"), new_id("op"))
        act.session = session
        await run.audit.RecordActs(audit_pb2.RecordActsRequest(acts=[act]), metadata=run.enforcer, timeout=20)
        for start in (0, -1, run.service.log.size - 1):  # also where the decision isn't among what is read
            records = await log(run, "carol", "auditor", start=start)
            assert SECRET not in everywhere(records)
            for record in records:
                if record["kind"] == "act":
                    shown = base64.b64decode(record["intent"]["statement"]).decode()
                    limit = "SELECT id FROM customers WHERE email = ‹email› LIMIT 3"
                    assert shown == (limit if known else "‹hidden›")


async def test_without_policy_nothing_is_shown(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.decide(await run.session("executor-7", "executor"), held())
        subject = run.service.engine.people.by_name("carol")
        assert subject is not None
        raw = [orjson.loads(raw) async for _, raw in run.service.log.read(0, None)]
        (decision,) = [record for record in raw if record["kind"] == "decision"]
        # A record of a version whose description lacks what policy reads.
        del decision["input"]["operation"]["sql"]["literals"]
        decision["input"]["operation"]["shape_digest"] = "00"
        reading = run.service.reading
        reader = Subject(
            party=subject,
            actors=(),
            roles=("auditor",),
            role="",
            closure=("carol",),
            acting_closure=("carol",),
            token_id="",
            dev=True,
        )
        shown = await reading.record(reader, decision, None)
        assert SECRET not in everywhere(shown)
        assert shown["redacted"] == ["hidden"]
