"""Two decision services on one PostgreSQL, behind one address: a client's next connection may meet the other one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2
from twokey.type.v1 import decision_pb2 as type_pb2

from decision.app import Service
from decision.policy.bundle import shipped_rego
from decision.settings import Settings
from tests.decision.identity.holder import Holder
from tests.decision.identity.support import RSA, Idp, serving
from tests.decision.rpc.test_auth import RPC, call, nonce
from tests.decision.running import PEOPLE, Running, document_of, operation

PUBLIC = "https://decision.example"  # what clients of both know them by


@contextlib.asynccontextmanager
async def relay(addresses: list[str]) -> AsyncIterator[str]:
    """One address; each connection goes to the next of `addresses`."""
    turns = itertools.cycle(addresses)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = next(turns).rpartition(":")
        upstream, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, back), pump(upstream, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    """Whose tokens both believe; each has a dev issuer of its own."""
    async with serving(Idp()) as started:
        yield started


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str, idp: Idp) -> AsyncIterator[tuple[Running, Running]]:
    secret, tls = secrets.token_urlsafe(32), None
    data = tmp_path / "data"
    data.mkdir()
    (data / "duties.yaml").write_text((shipped_rego() / "data" / "duties.yaml").read_text() + PROCESS)
    roles = {"claim": "groups", "map": {"admins": "admin"}}
    identity = {"issuers": [{"issuer": idp.issuer, "audience": "twokey", "roles": roles}]}
    policy = {"rego": str(shipped_rego()), "data": str(data)}
    async with AsyncExitStack() as ending:
        services: list[Service] = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            document: dict[str, Any] = document_of(
                folder, secret, store=postgres_url, policy=policy, public={"grpc": [PUBLIC]}, identity=identity
            )
            known = f'sub: c1}}, {{iss: "{idp.issuer}", sub: c1}}]'
            (folder / "people.yaml").write_text(PEOPLE.replace("sub: c1}]", known))
            tls = document["run"]["tls"] = tls or document["run"]["tls"]
            service = Service(Settings.model_validate(document), document, watch=False, drain_s=1.0)
            await service.start()
            ending.push_async_callback(service.stop)
            stop = asyncio.Event()
            background = asyncio.ensure_future(service.run(stop))
            ending.push_async_callback(asyncio.wait, [background])
            ending.callback(stop.set)
            services.append(service)
        assert tls is not None
        address = await ending.enter_async_context(relay([str(one.ready_line["grpc"]) for one in services]))
        credentials = grpc.ssl_channel_credentials(tls["ca"].encode())
        met = []
        for service in services:
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = await ending.enter_async_context(grpc.aio.secure_channel(address, credentials, options))
            await channel.channel_ready()
            met.append(Running(service, channel, secret, folder=tmp_path))
        yield met[0], met[1]


PROCESS = """processes:
  - name: paying
    per: relation
    limit: 2
    steps:
      - {name: enter, access: [insert], relations: [public.orders]}
      - {name: change, access: [update], relations: [public.orders]}
"""


def delete(text: str) -> Any:
    return operation(text, "delete")


async def test_a_hold_at_one_is_approved_at_the_other_and_redeemed_at_either_once(
    replicas: tuple[Running, Running],
) -> None:
    one, two = replicas
    session = await one.session("executor-7", "executor")
    act = delete("DELETE FROM orders WHERE id = 1")
    held = await two.decide(session, act)
    assert held.decision.outcome == type_pb2.OUTCOME_REQUIRE_APPROVAL
    approval = held.decision.approval.id

    watch = one.approval.Watch(approval_pb2.WatchRequest(ids=[approval]), metadata=one.enforcer, timeout=30)
    first = await watch.read()
    assert first.state == approval_pb2.STATE_PENDING
    await two.approval.Approve(
        approval_pb2.ApproveRequest(id=approval, reason="ok"), metadata=two.bearer("bob", "reviewer"), timeout=20
    )
    states = []
    while approval_pb2.STATE_APPROVED not in states:
        states.append((await watch.read()).state)
    watch.cancel()

    async def redeem(at: Running) -> int:
        again = delete("DELETE FROM orders WHERE id = 1")
        return int((await at.decide(session, again, approval=approval)).decision.outcome)

    answers = await asyncio.gather(*(redeem(at) for at in (one, two, one, two)))
    assert sorted(answers).count(type_pb2.OUTCOME_ALLOW) == 1


async def test_a_session_ended_at_one_is_over_at_the_other_within_a_second(
    replicas: tuple[Running, Running],
) -> None:
    one, two = replicas
    session = await one.session("executor-7", "executor")
    read = operation("SELECT 1", "select")
    assert (await two.decide(session, read)).decision.outcome == type_pb2.OUTCOME_ALLOW
    watch = two.decision.WatchRevocations(
        decision_pb2.WatchRevocationsRequest(enforcer="enf-1"), metadata=two.enforcer, timeout=30
    )
    await watch.read()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await one.decision.Revoke(
        decision_pb2.RevokeRequest(session=session, reason="stolen"),
        metadata=one.bearer("carol", "admin"),
        timeout=20,
    )
    while session not in (await watch.read()).revoked_sessions:
        pass
    assert loop.time() - begun < 1.0
    refused = await two.decide(session, operation("SELECT 1", "select"))
    assert refused.decision.outcome == type_pb2.OUTCOME_DENY
    watch.cancel()


async def test_rb2_of_two_exclusive_roles_opened_at_once_at_two_services_one_is(
    replicas: tuple[Running, Running],
) -> None:
    """P19: alice's two agents... one owner, planner and executor, each at its own service."""
    one, two = replicas
    for _ in range(5):
        opened = await asyncio.gather(one.open("alice", "planner"), two.open("executor-7", "executor"))
        ids = [each.session.id for each in opened if each.session.id]
        assert len(ids) == 1
        for session in ids:
            await one.decision.CloseSession(
                decision_pb2.CloseSessionRequest(session=session), metadata=one.enforcer, timeout=20
            )


async def test_rb3_of_two_steps_at_once_at_two_services_one_wins(replicas: tuple[Running, Running]) -> None:
    """An agent's and its owner's: each service shows policy a past without the other step."""
    one, two = replicas
    hers, owners = await one.session("executor-7", "executor"), await two.session("alice", "executor")
    enter, change = operation("INSERT", "insert"), operation("UPDATE", "update")
    for made in (enter, change):
        made.sql.most_rows = 1
    answers = await asyncio.gather(one.decide(hers, enter), two.decide(owners, change))
    outcomes = sorted(answer.decision.outcome for answer in answers)
    assert outcomes == [type_pb2.OUTCOME_ALLOW, type_pb2.OUTCOME_DENY]
    (lost,) = [one for one in answers if one.decision.outcome == type_pb2.OUTCOME_DENY]
    assert {reason.rule for reason in lost.decision.reasons} == {"DUTY-PROCESS"}


async def test_t28_of_one_password_at_two_services_at_once_one_session_comes(replicas: tuple[Running, Running]) -> None:
    one, two = replicas
    for _ in range(4):
        issued = await one.decision.IssueSessionCredential(
            decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor"),
            metadata=one.bearer("executor-7", "executor"),
            timeout=20,
        )
        asked = [at.open("executor-7", "executor", token=issued.credential) for at in (one, two) * 4]
        opened = await asyncio.gather(*asked)
        codes = sorted(each.decision.reason_code for each in opened if not each.session.id)
        assert codes == ["TOKEN_USED"] * 7


async def test_t15_a_proof_is_good_at_one_of_two_services_once_and_a_nonce_of_one_at_the_other(
    replicas: tuple[Running, Running], idp: Idp
) -> None:
    """Both are one address to clients, whose proofs name that. The same proof at both at once, over and over."""
    one, two = replicas
    holder = Holder()
    for _ in range(4):
        access = idp.token(None, RSA, sub="c1", groups=["admins"], cnf={"jkt": holder.jkt})
        challenge = await nonce(one, holder, access)
        proof = holder.proof(PUBLIC + RPC, access, nonce=challenge)
        metadata = (("authorization", f"DPoP {access}"), ("dpop", proof))
        told = await asyncio.gather(*(call(at, *metadata) for at in (one, two) * 4))
        assert sorted(told) == ["", *["TOKEN_PROOF"] * 7]


async def test_t20_a_revocation_between_ends_what_opens_at_the_other_service(replicas: tuple[Running, Running]) -> None:
    """Many openings there while the agent is revoked here: whatever was let in has ended, and nothing more comes in."""
    one, two = replicas
    token = two.token("executor-7", "executor")
    revoking = one.decision.Revoke(
        decision_pb2.RevokeRequest(party="executor-7", reason="stolen"),
        metadata=one.bearer("carol", "admin"),
        timeout=20,
    )

    async def revoke() -> None:
        await revoking

    _, *opened = await asyncio.gather(revoke(), *(two.open("", "executor", token=token) for _ in range(24)))
    assert (await two.open("", "executor", token=token)).decision.reason_code == "TOKEN_REVOKED"
    for each in opened:
        if each.session.id:
            refused = await one.decide(each.session.id, operation("SELECT 1", "select"))
            assert refused.decision.outcome == type_pb2.OUTCOME_DENY
    assert not await two.service.store.sessions.list()
