"""Token exchange at our own endpoint: what comes of two tokens, what is refused, what the log says (RFC 8693)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from twokey.approval.v1 import approval_pb2
from twokey.decision.v1 import decision_pb2

from decision.identity.exchange import Exchange
from decision.identity.jose import segments
from tests.decision.identity.holder import Holder
from tests.decision.rpc.test_auth import bound, revoke, token
from tests.decision.running import Running, running

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started


def claims(text: str) -> Any:
    return segments(text)[1]


async def post(run: Running, headers: dict[str, str], **form: str) -> httpx.Response:
    url = f"http://{run.service.http.address}/token"
    full = {"grant_type": GRANT, "subject_token_type": ACCESS, **form}
    async with httpx.AsyncClient() as client:
        return await client.post(url, data={name: value for name, value in full.items() if value}, headers=headers)


async def exchange(run: Running, actor: str, subject: str = "", **form: str) -> httpx.Response:
    return await post(run, {"Authorization": f"Bearer {actor}"}, subject_token=subject, **form)


async def exchanged(run: Running, actor: str, subject: str = "", **form: str) -> str:
    answer = await exchange(run, actor, subject, **form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json()["access_token"])


async def test_tx_1_the_executor_acts_for_the_planners_subject(run: Running) -> None:
    subject = token(run, "carol", "planner", act={"iss": "urn:twokey:dev", "sub": "planner-3"})
    made = await exchanged(run, token(run, "executor-7", "executor"), subject)
    said = claims(made)
    assert said["sub_id"] == {"format": "iss_sub", "iss": "urn:twokey:dev", "sub": "carol"}
    assert said["act"] == {
        "iss": "urn:twokey:dev", "sub": "executor-7", "act": {"iss": "urn:twokey:dev", "sub": "planner-3"},
    }  # fmt: skip
    assert said["roles"] == ["executor"]
    opened = await run.open("", "executor", token=made)
    assert opened.session.dev
    assert opened.session.subject.identity.name == "carol"
    assert [actor.name for actor in opened.session.subject.actors] == ["executor-7", "planner-3"]
    log = [json.loads(line) async for _, line in run.service.log.read(0, None)]
    (record,) = [one for one in log if one["kind"] == "token-exchanged"]
    assert record["subject"]["name"] == "executor-7"
    assert [one["sub"] for one in record["chain"]] == ["executor-7", "planner-3"]
    assert made not in json.dumps(log)


async def test_a_token_bound_to_the_planner_becomes_one_bound_to_the_executor(run: Running) -> None:
    planner, executor = Holder(), Holder()
    subject = bound(run, planner, "planner-3", "planner")
    actor = bound(run, executor, "executor-7", "executor")
    url = f"http://{run.service.http.address}/token"

    async def signed(nonce: str | None) -> httpx.Response:
        proof = executor.proof(url, actor, nonce=nonce)
        return await post(run, {"Authorization": f"DPoP {actor}", "DPoP": proof}, subject_token=subject)

    challenge = await signed(None)
    assert challenge.status_code == 401
    assert 'error="use_dpop_nonce"' in challenge.headers["WWW-Authenticate"]
    answer = await signed(challenge.headers["DPoP-Nonce"])
    assert answer.json()["token_type"] == "DPoP"
    made = answer.json()["access_token"]
    assert claims(made)["cnf"] == {"jkt": executor.jkt}
    assert (await run.open("", "executor", token=made)).decision.reason_code == "TOKEN_PROOF"
    wrong = await exchange(run, actor, subject)
    assert wrong.status_code == 401
    assert 'error="invalid_dpop_proof"' in wrong.headers["WWW-Authenticate"]


async def test_two_who_act_for_one_person(run: Running) -> None:
    """alice -> planner and alice -> executor: alice -> planner -> executor."""

    def actor(name: str) -> dict[str, str]:
        return {"iss": "urn:twokey:dev", "sub": name}

    subject = token(run, "carol", "planner", act=actor("planner-3"))
    made = await exchanged(run, token(run, "carol", "executor", act=actor("executor-7")), subject)
    said = claims(made)
    assert (said["sub"], said["act"]["sub"], said["act"]["act"]) == ("carol", "executor-7", actor("planner-3"))


async def test_tx_4_may_act_names_the_only_one_who_may(run: Running) -> None:
    for name, status in (("executor-7", 200), ("planner-3", 400)):
        subject = token(run, "planner-3", "planner", may_act={"iss": "urn:twokey:dev", "sub": name})
        assert (await exchange(run, token(run, "executor-7", "executor"), subject)).status_code == status


async def test_t22_and_t23_nobody_vanishes_and_nobody_comes_twice(run: Running) -> None:
    executor = token(run, "executor-7", "executor")
    once = await exchanged(run, executor, token(run, "planner-3", "planner"))
    again = await exchange(run, executor, once)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_request")
    for actor, subject in ((once, once), (executor, executor), (once, executor)):
        assert (await exchange(run, actor, subject)).status_code == 400
    another = token(run, "alice", "executor")
    more = await exchanged(run, another, once)
    chain = claims(more)["act"]
    assert (chain["sub"], chain["act"]["sub"], claims(more)["sub"]) == ("alice", "executor-7", "planner-3")


async def test_t22_an_exchanged_token_belongs_to_the_transactions_of_all_it_was_made_of(run: Running) -> None:
    """Else one more exchange would take it out of them."""
    executor = token(run, "executor-7", "executor", txn="E")
    once = await exchanged(run, executor, token(run, "planner-3", "planner", txn="P"))
    dev = "urn:twokey:dev"
    assert claims(once)["txns"] == [[dev, "E"], [dev, "P"]]
    again = await exchanged(run, token(run, "alice", "executor"), once)
    assert claims(again)["txns"] == [[dev, "E"], [dev, "P"]]
    assert (await run.open("", "executor", token=again)).session.id
    (session,) = await run.service.sessions.list_open()
    assert {f'txn:["{dev}","E"]', f'txn:["{dev}","P"]'} <= set(session.subject.closure)
    refused = await exchange(run, token(run, "alice", "executor", txn="x" * 1025), once)
    assert refused.status_code == 401


async def test_t23_a_chain_of_more_than_eight(run: Running) -> None:
    act: dict[str, object] = {}
    for number in range(8):
        act = {"iss": "i", "sub": str(number), **({"act": act} if act else {})}
    subject = token(run, "planner-3", "planner", act=act)
    assert (await exchange(run, token(run, "executor-7", "executor"), subject)).status_code == 400


async def test_t24_nothing_grows(run: Running) -> None:
    soon = int(time.time()) + 60
    subject = token(run, "planner-3", "planner", exp=soon, scope="twokey:crm:plan")
    executor = token(run, "executor-7", "executor", scope="twokey:crm:execute twokey:erp:execute")
    made = claims(await exchanged(run, executor, subject))
    assert made["exp"] <= soon
    assert made["scope"] == "twokey:crm:execute"
    assert made["roles"] == ["executor"]
    wider = await exchange(run, executor, subject, scope="twokey:erp:execute")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")
    foreign = token(run, "planner-3", "planner", scope="twokey:hr:plan")
    nothing = await exchanged(run, executor, foreign)
    assert (await run.open("", "executor", token=nothing)).decision.reasons[0].rule == "DUTY-SCOPE"


async def test_a_subagent_is_its_parent_with_less(run: Running) -> None:
    parent = token(run, "executor-7", "executor", scope="twokey:crm:execute")
    made = await exchanged(run, parent, twokey_subagent="3")
    assert claims(made)["act"] == {"iss": "urn:twokey:exchange", "sub": "executor-7/sub/3"}
    opened = await run.open("", "executor", token=made)
    assert [actor.name for actor in opened.session.subject.actors] == ["executor-7/sub/3"]
    assert opened.session.subject.actors[0].owner == "executor-7"
    nested = claims(await exchanged(run, made, twokey_subagent="1"))
    assert (nested["act"]["sub"], nested["act"]["act"]["sub"]) == ("executor-7/sub/3/sub/1", "executor-7/sub/3")
    assert nested["exp"] <= claims(made)["exp"] <= claims(parent)["exp"]
    short = token(run, "executor-7", "executor", exp=int(time.time()) + 60)
    brief = await exchanged(run, short, twokey_subagent="3")
    assert claims(await exchanged(run, brief, twokey_subagent="1"))["exp"] <= claims(short)["exp"]
    for form in (
        {"twokey_role": "reviewer"},
        {"scope": "twokey:erp:execute"},
        {"twokey_subagent": "0"},
        {"twokey_subagent": "x"},
        {"twokey_subagent": "99999"},
    ):
        assert (await exchange(run, parent, **{"twokey_subagent": "4", **form})).status_code == 400
    person = await exchange(run, token(run, "alice", "executor"), twokey_subagent="1")
    assert person.status_code == 400


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "client_credentials"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"audience": "elsewhere"},
        {"resource": "https://elsewhere.example"},
        {"actor_token": "x.y.z"},
        {"password": "x"},
    ],
)
async def test_requests_that_are_not_taken(run: Running, form: dict[str, str]) -> None:
    subject = token(run, "planner-3", "planner")
    answer = await exchange(run, token(run, "executor-7", "executor"), subject, **form)
    assert answer.status_code == 400
    assert "error" in answer.json()


async def test_t26_a_token_anywhere_but_in_its_header_is_none(run: Running, capfd: pytest.CaptureFixture[str]) -> None:
    actor, subject = token(run, "executor-7", "executor"), token(run, "planner-3", "planner")
    url = f"http://{run.service.http.address}/token"
    form = {"grant_type": GRANT, "subject_token_type": ACCESS, "subject_token": subject}
    async with httpx.AsyncClient() as client:
        for answer in (
            await client.post(url, data=form, params={"access_token": actor}),
            await client.post(url, data=form, headers={"Cookie": f"access_token={actor}"}),
            await client.post(url, data={**form, "access_token": actor}),
            await client.post(url, data={**form, "actor_token": actor}),
        ):
            assert answer.status_code == 401
        assert (await client.post(f"{url}/{actor}", data=form)).status_code == 404
    async for _, line in run.service.log.read(0, None):
        assert actor.encode() not in line
    shown = capfd.readouterr()
    assert actor not in shown.out + shown.err


async def test_t26_a_token_in_a_messages_body_is_none(run: Running, capfd: pytest.CaptureFixture[str]) -> None:
    """In the fields it has, and in one that nobody knows."""
    admin = token(run, "carol", "admin")
    unknown = bytes([0xBA, 0x3E]) + varint(len(admin)) + admin.encode()  # field 999, a text
    revoking = decision_pb2.RevokeRequest(party="executor-7", reason=admin)
    credential = decision_pb2.IssueSessionCredentialRequest(connection="crm", role="executor")
    listing = decision_pb2.ListSessionsRequest()
    for request in (revoking, credential, listing):
        request.MergeFromString(unknown)
        assert admin.encode() in request.SerializeToString()
    for asked in (
        run.decision.Revoke(revoking, timeout=10),
        run.decision.IssueSessionCredential(credential, timeout=10),
        run.decision.ListSessions(listing, timeout=10),
        run.approval.Approve(approval_pb2.ApproveRequest(id=admin, reason=admin), timeout=10),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert admin not in str(caught.value)
    assert (await run.open("executor-7", "executor")).session.id  # nothing was revoked
    assert not [line async for _, line in run.service.log.read(0, None) if admin.encode() in line]
    shown = capfd.readouterr()
    assert admin not in shown.out + shown.err


def varint(number: int) -> bytes:
    """https://protobuf.dev/programming-guides/encoding/#varints"""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


async def test_with_its_parent_a_token_is_revoked(run: Running) -> None:
    subject = token(run, "planner-3", "planner", jti="parent")
    made = await exchanged(run, token(run, "executor-7", "executor"), subject)
    opened = await run.open("", "executor", token=made)
    assert opened.session.id
    answer = await revoke(run, token(run, "carol", "admin"), token="parent", issuer="urn:twokey:dev")
    assert (answer.sessions, answer.tokens) == (1, 2)
    assert (await run.open("", "executor", token=made)).decision.reason_code == "TOKEN_REVOKED"
    late = await exchange(run, token(run, "executor-7", "executor"), subject)
    assert late.status_code == 401


async def test_what_an_enforcer_knows_signs_no_token(run: Running) -> None:
    """Its secret is shared with every gateway; a key made of it would make each of them everybody."""
    subject = token(run, "planner-3", "planner")
    ours = segments(await exchanged(run, token(run, "executor-7", "executor"), subject))[0]["kid"]
    assert ours != Exchange(run.secret.encode()).kid


async def test_with_a_key_of_the_configurations_it_outlives_the_run_and_counts_at_every_replica(tmp_path: Path) -> None:
    key = {"exchange": {"key": "x" * 43}}
    first, second, third = (tmp_path / name for name in "abc")
    for folder in (first, second, third):
        folder.mkdir()
    async with running(first, document=key) as run:
        made = await exchanged(run, token(run, "executor-7", "executor"), token(run, "carol", "planner"))
    async with running(first, document=key) as again:
        assert (await again.open("", "executor", token=made)).session.subject.identity.name == "carol"
    async with running(second, document=key) as replica:
        assert (await replica.open("", "executor", token=made)).session.id
    async with running(third) as other:  # a key of its own run
        assert (await other.open("", "executor", token=made)).decision.reason_code == "TOKEN_SIGNATURE"


async def test_a_token_of_ours_that_we_did_not_sign(run: Running) -> None:
    forged = token(
        run,
        "executor-7",
        "executor",
        iss="urn:twokey:exchange",
        sub_id={"format": "iss_sub", "iss": "urn:twokey:dev", "sub": "executor-7"},
    )
    assert (await run.open("", "executor", token=forged)).decision.reason_code == "TOKEN_SIGNATURE"
