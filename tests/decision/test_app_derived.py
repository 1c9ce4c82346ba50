"""A derived label is in force before it is answered for: at each decision service on one store, after whatever fails on
the way, and once the asker has given up (ADR 23)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2

from decision.cli import derived
from decision.ports import DerivedLabel
from decision.store.derived import SqlDerived
from tests.decision.dying import PLACES
from tests.decision.running import ROOT, Running, document_of, operation, running

MASKING = """\
clear: {executor: ["*"], reviewer: ["*"]}
default: {type: "null"}
maskers: {}
inference: {allow: []}
derive: {executor: [email]}
"""


def making() -> operation_pb2.Operation:
    act = operation(
        "CREATE TABLE recent AS SELECT email FROM customers", "create", access="ddl", command="CREATE TABLE AS"
    )
    flow = act.sql.flows.add(kind="create", through="copy")
    flow.source.CopyFrom(operation_pb2.ColumnName(schema="public", relation="customers", column="email"))
    flow.target.CopyFrom(operation_pb2.ColumnName(schema="public", relation="recent", column="email"))
    return act


def reading() -> operation_pb2.Operation:
    origin = operation_pb2.ColumnOrigin(schema="public", relation="recent", column="email", relation_oid=7, attribute=1)
    use = operation_pb2.ColumnUse(schema="public", relation="recent", column="email", use="output")
    output = operation_pb2.OutputColumn(name="email", origin=origin)
    return operation("SELECT email FROM recent", "select", columns=[use], output=[output])


async def masked(at: Running, session: str) -> bool:
    decision = (await at.decide(session, reading())).decision
    return bool(decision.outcome == type_pb2.OUTCOME_MASK_COLUMNS)


def given(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Policy data that derives, and one connection with a classification file."""
    data = folder / "data"
    data.mkdir()
    (data / "masking.yaml").write_text(MASKING)
    name = {"name": "crm", "kind": "postgres", "environment": "development"}
    return data, {"connections": [{**name, "classification": str(folder / "crm.yaml")}]}


async def told(run: Running) -> dict[str, str]:
    """What `twokey classify derived` would propose where the file had nothing."""
    records = [payload async for _, payload in run.service.log.read(0, None)]
    return {str(column): label for column, label in derived.of_records(records, frozenset(["crm"])).items()}


DERIVED = {"public.recent.email": "email"}


async def test_what_one_service_derives_another_masks_at_once(tmp_path: Path, postgres_url: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    data, document = given(folders[0])
    async with (
        running(folders[0], store=postgres_url, data=data, document=document) as one,
        running(folders[1], store=postgres_url, data=data, document=document) as two,
    ):
        executor = await one.session("executor-7", "executor")
        planner = await two.session("planner-3", "planner")
        assert not await masked(two, planner)
        made = (await one.decide(executor, making())).decision
        assert made.outcome == type_pb2.OUTCOME_ALLOW, made
        assert [item.type for item in made.obligations if item.type == "classify"] == []  # met before the answer
        assert await masked(two, planner)
    async with running(folders[2], store=postgres_url, data=data, document=document) as three:
        assert await masked(three, await three.session("planner-3", "planner"))


async def test_no_answer_where_the_policy_with_the_label_can_not_be_loaded(tmp_path: Path) -> None:
    """And none that allows: the label waits in the store, and once the policy loads again the act may be asked for."""
    data, document = given(tmp_path)
    async with running(tmp_path, data=data, document=document) as run:
        executor, planner = await run.session("executor-7", "executor"), await run.session("planner-3", "planner")
        people = (tmp_path / "people.yaml").read_text()
        (tmp_path / "people.yaml").write_text("principals: 7\n")
        before = run.service.engine.revision
        refused = (await run.decide(executor, making())).decision
        assert refused.outcome == type_pb2.OUTCOME_DENY
        assert run.service.engine.revision == before
        assert await run.service.store.derived.read() == {"crm": DERIVED}
        assert not await masked(run, planner)  # nothing has the name yet
        (tmp_path / "people.yaml").write_text(people)
        assert (await run.decide(executor, making())).decision.outcome == type_pb2.OUTCOME_ALLOW
        assert await masked(run, planner)
        assert await told(run) == DERIVED


async def test_who_gives_up_meanwhile_finds_it_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a policy may take longer than a gateway waits for an answer: what has begun is brought to its end."""
    data, document = given(tmp_path)
    async with running(tmp_path, data=data, document=document) as run:
        executor, planner = await run.session("executor-7", "executor"), await run.session("planner-3", "planner")
        request = decision_pb2.DecideRequest(session=executor, operation=making(), can_hold=True)
        stored, loaded, add = asyncio.Event(), asyncio.Event(), SqlDerived.add

        async def seen(store: SqlDerived, labels: Sequence[DerivedLabel]) -> None:
            await add(store, labels)
            stored.set()

        monkeypatch.setattr(SqlDerived, "add", seen)
        run.service.engine.on_change(lambda _revision: loaded.set())
        deciding = run.decision.Decide(request, metadata=run.enforcer, timeout=20)
        async with asyncio.timeout(20):
            await stored.wait()
            deciding.cancel()
            assert not loaded.is_set()
            await loaded.wait()
        assert await masked(run, planner)
        assert await told(run) == DERIVED
        assert (await run.decide(executor, making())).decision.outcome == type_pb2.OUTCOME_ALLOW


@pytest.mark.parametrize("place", PLACES)
async def test_killed_between_the_label_and_the_answer(tmp_path: Path, place: str) -> None:
    """A service of its own gets SIGKILL there: nobody was answered, and the next one knows of the label."""
    data, document = given(tmp_path)
    policy = {"rego": str(ROOT / "rego"), "data": str(data)}
    settings = document_of(tmp_path, "k" * 43, policy=policy, **document)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    dying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.decision.dying", str(tmp_path / "settings.json"), place),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TWOKEY_PURE": "1"},
    )
    try:
        assert dying.stdout is not None
        async with asyncio.timeout(40):
            while not (line := await dying.stdout.readline()).startswith(b"{"):
                assert line, "it ended before it was ready"  # what it logs comes first
        ready = json.loads(line)
        credentials = grpc.ssl_channel_credentials(settings["run"]["tls"]["ca"].encode())
        async with grpc.aio.secure_channel(ready["grpc"], credentials) as channel:
            run = Running(None, channel, "k" * 43, folder=tmp_path)  # type: ignore[arg-type]  # it is another process
            executor = (await run.open("executor-7", "executor", token=ready["minted"])).session.id
            with pytest.raises(grpc.aio.AioRpcError):
                await run.decide(executor, making())
        assert await asyncio.wait_for(dying.wait(), 20) == -signal.SIGKILL
    finally:
        if dying.returncode is None:
            dying.kill()
            await dying.wait()
    async with running(tmp_path, data=data, document=document) as run:
        stays = place != PLACES[0]
        assert await masked(run, await run.session("planner-3", "planner")) is stays
        assert await told(run) == DERIVED
        allowed = await run.decide(await run.session("executor-7", "executor"), making())
        assert allowed.decision.outcome == type_pb2.OUTCOME_ALLOW


async def test_what_is_committed_stays_in_the_store(tmp_path: Path) -> None:
    """So that taking the line out of the file again leaves no column bare."""
    data, document = given(tmp_path)
    async with running(tmp_path, data=data, document=document) as run:
        executor, planner = await run.session("executor-7", "executor"), await run.session("planner-3", "planner")
        assert (await run.decide(executor, making())).decision.outcome == type_pb2.OUTCOME_ALLOW
        file = tmp_path / "crm.yaml"
        bare = file.read_text()
        for text in (bare + "public.recent.email: email\n", bare):
            file.write_text(text)
            await run.service.engine.reload()
            assert await run.service.store.derived.read() == {"crm": DERIVED}
            assert await masked(run, planner)


async def test_a_label_that_changes_no_policy_is_counted_once(tmp_path: Path, postgres_url: str) -> None:
    """The file has it here already: nothing is loaded again before each answer."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    data, document = given(folders[0])
    ahead = {"connections": [{**document["connections"][0], "classification": str(folders[1] / "ahead.yaml")}]}
    (folders[1] / "ahead.yaml").write_text("public.customers.email: email\npublic.recent.email: email\n")
    async with (
        running(folders[0], store=postgres_url, data=data, document=document) as one,
        running(folders[1], store=postgres_url, data=data, document=ahead) as two,
    ):
        made = await one.decide(await one.session("executor-7", "executor"), making())
        assert made.decision.outcome == type_pb2.OUTCOME_ALLOW
        revision = two.service.engine.revision
        assert await masked(two, await two.session("planner-3", "planner"))
        assert (two.service.engine.derived, two.service.engine.revision) == (1, revision)
