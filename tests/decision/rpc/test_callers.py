"""Who may call what: every RPC of every service has a row, in code, in policy data and in docs/callers.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from ruamel.yaml import YAML
from twokey.decision.v1 import decision_pb2

from decision.authzen.http import ACTION as EVALUATE
from decision.authzen.request_http import ACTION as REQUEST
from decision.cli.certificates import make
from decision.model import new_id
from decision.pdp import session_calls
from decision.rpc.callers import DOORS, NOT_YET, Door
from decision.rpc.exchange import ACTION as EXCHANGE
from decision.rpc.server import SERVICES
from tests.decision.running import Running, operation, running

ROOT = Path(__file__).resolve().parents[3]
POOL = descriptor_pool.Default()
METHODS: dict[str, MethodDescriptor] = {
    f"{service}/{method.name}": method for service in SERVICES for method in POOL.FindServiceByName(service).methods
}
ROLES = ("planner", "executor", "reviewer", "auditor", "admin", "policy-author")


def test_the_server_offers_every_service_of_proto() -> None:
    declared = {
        f"{line.split()[1].rstrip(';')}.{service.split()[1]}"
        for path in (ROOT / "proto" / "twokey").rglob("*.proto")
        for line in path.read_text().splitlines()
        if line.startswith("package ")
        for service in path.read_text().splitlines()
        if service.startswith("service ")
    }
    assert set(SERVICES) == declared


def test_every_rpc_has_a_row() -> None:
    ours = {name for name in DOORS if not name.startswith("grpc.")}
    assert ours == set(METHODS)


def test_the_policy_data_has_the_same_rows() -> None:
    calls = YAML(typ="safe").load((ROOT / "rego" / "data" / "calls.yaml").read_text())
    assert set(calls["enforcer"]) == {name for name, door in DOORS.items() if door is Door.ENFORCER}
    doors = {name for name, door in DOORS.items() if door in (Door.BEARER, Door.EITHER)}
    assert set(calls["roles"]) == {*doors, EXCHANGE, EVALUATE, REQUEST}
    assert set(calls["own"]) == {session_calls.LIST, session_calls.REVOKE}
    assert not any(set(calls["own"][name]) & set(calls["roles"][name]) for name in calls["own"])


def test_the_document_has_the_same_rows() -> None:
    text = (ROOT / "docs" / "callers.md").read_text()
    calls = YAML(typ="safe").load((ROOT / "rego" / "data" / "calls.yaml").read_text())
    rows = {
        cells[0].strip("`"): (cells[1], cells[2])
        for line in text.splitlines()
        if line.startswith("| `")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }

    def roles(name: str) -> str:
        own = f"; persons their own: {', '.join(calls['own'][name])}" if name in calls["own"] else ""
        return (", ".join(calls["roles"].get(name, ())) or "–") + own

    wanted = {name: (door.value, roles(name)) for name, door in DOORS.items()}
    assert rows == wanted


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


async def call(run: Running, rpc: str, metadata: Any, *, seconds: float = 30) -> tuple[grpc.StatusCode, str]:
    """An empty message to `rpc`, whatever its kind; OK where it answered or went on streaming. What policy was too slow
    for, on a loaded machine, is asked again: it is neither let in nor refused. So is what the client's library lost:
    where a stream is refused before its message is sent, its own error takes the answer's place (grpc/grpc#36066)."""
    for _ in range(20):
        found = await _call(run, rpc, metadata, seconds)
        if found[0] is not grpc.StatusCode.UNAVAILABLE and found[1] != "Internal error from Core":
            break
    return found


async def _call(run: Running, rpc: str, metadata: Any, seconds: float) -> tuple[grpc.StatusCode, str]:
    method = METHODS[rpc]
    request = message_factory.GetMessageClass(method.input_type)()
    factory = getattr(
        run.channel,
        f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}",
    )
    stub = factory(
        f"/{rpc}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    argument = iter([request]) if method.client_streaming else request
    running_call = stub(argument, metadata=metadata, timeout=seconds)
    try:
        if method.server_streaming:
            await running_call.read()
            running_call.cancel()
        else:
            await running_call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


REFUSED = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}


async def test_every_rpc_by_every_caller(run: Running) -> None:
    """One service, all pairs: what transport and shipped policy refuse is refused, and nothing else."""
    calls = YAML(typ="safe").load((ROOT / "rego" / "data" / "calls.yaml").read_text())
    allowed, own = calls["roles"], calls["own"]
    for rpc, method in METHODS.items():
        door = DOORS[rpc]
        assert (await call(run, rpc, ()))[0] in REFUSED, rpc
        assert (await call(run, rpc, (("x-twokey-enforcer", "x" * 43),)))[0] in REFUSED, rpc
        assert (await call(run, rpc, (("authorization", "Bearer x.y.z"),)))[0] in REFUSED, rpc
        # A stream that is let in may have nothing to say: no time is lost waiting for it. A refusal gets all it needs.
        code, _ = await call(run, rpc, run.enforcer, seconds=30 if door is Door.BEARER else 3)
        assert (code in REFUSED) == (door is Door.BEARER), (rpc, code)
        for role in ROLES:
            who = "planner-3" if role == "planner" else "executor-7" if role == "executor" else "carol"
            may = door is not Door.ENFORCER and role in allowed[rpc]
            may = may or (who == "carol" and role in own.get(rpc, ()))  # a person; agents have no sessions of their own
            streams = method.server_streaming
            code, details = await call(run, rpc, run.bearer(who, role), seconds=3 if may and streams else 30)
            # A caller let in may still be refused for what it asked (Explain without a role of its own).
            let_in = code not in REFUSED or "role that was asked for" in details
            assert let_in == may, (rpc, role, code, details)
            if rpc in NOT_YET and may:
                assert code is grpc.StatusCode.UNIMPLEMENTED, rpc


@pytest.mark.parametrize("rpc", ["Decide", "RecordActs", "PutChunk"])
async def test_an_agent_with_its_own_live_session_still_calls_nothing_of_an_enforcer(run: Running, rpc: str) -> None:
    await run.session("executor-7", "executor")
    name = next(name for name in METHODS if name.endswith(f"/{rpc}"))
    for roles in (ROLES, ("admin",), ("executor",)):
        code, _ = await call(run, name, run.bearer("executor-7", *roles))
        assert code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("extra", ["token", "second-secret", "second-token"])
async def test_nobody_calls_as_two(run: Running, extra: str) -> None:
    (token,) = run.bearer("carol", "auditor")
    metadata = {
        "token": (*run.enforcer, token),
        "second-secret": (*run.enforcer, *run.enforcer),
        "second-token": (token, token),
    }[extra]
    name = "twokey.approval.v1.ApprovalService/Get"
    assert (await call(run, name, metadata))[0] in REFUSED


async def test_a_call_needs_a_deadline(run: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="deadline"):
        await run.decision.CloseSession(decision_pb2.CloseSessionRequest(session="x"), metadata=run.enforcer)


async def test_health_is_for_anyone_and_reflection_is_not(run: Running) -> None:
    check = run.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    for service in ("", *SERVICES):
        answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    reflect = run.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    wanted = reflection_pb2.ServerReflectionRequest(list_services="")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reflect(iter([wanted]), timeout=5).read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = await reflect(iter([wanted]), metadata=run.bearer("carol", "admin"), timeout=5).read()
    assert set(SERVICES) <= {service.name for service in answer.list_services_response.service}


async def test_a_denied_call_is_recorded(run: Running) -> None:
    await call(run, "twokey.decision.v1.DecisionService/Revoke", run.bearer("planner-3", "planner"))
    kinds = [payload async for _, payload in run.service.log.read(0, None) if b'"kind":"call-denied"' in payload]
    assert len(kinds) == 1
    assert b'"rpc":"twokey.decision.v1.DecisionService/Revoke"' in kinds[0]


async def test_a_message_larger_than_the_bound_is_refused_and_the_service_lives(run: Running) -> None:
    session = await run.session("executor-7", "executor")
    asked = operation("SELECT 1", "select")
    asked.sql.values.statement = b"x" * (21 << 20)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run.decide(session, asked)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    asked.sql.values.statement = b"x" * (10 << 20)
    asked.id = new_id("op")
    assert (await run.decide(session, asked)).record >= 0


async def test_another_authority_is_not_believed(run: Running) -> None:
    credentials = grpc.ssl_channel_credentials(make("other").ca.encode())
    async with grpc.aio.secure_channel(str(run.service.ready_line["grpc"]), credentials) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(b"", timeout=3)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_a_small_message_that_unpacks_large_is_refused(run: Running) -> None:
    request = decision_pb2.DecideRequest(session=" " * (100 << 20))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run.decision.Decide(request, metadata=run.enforcer, timeout=20, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert run.service.ready
