"""SSH certificates from a whole service: who gets one, that it is recorded, and what revokes it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twokey.decision.v1 import decision_pb2

from decision.identity.ssh import PrivateKey
from tests.decision.identity.holder import Holder
from tests.decision.identity.test_ssh import line, private
from tests.decision.rpc.test_auth import bound, nonce, reason, token, url
from tests.decision.running import Running, running
from tools import openssh

RPC = "/twokey.decision.v1.DecisionService/IssueSessionCredential"
SSH = {
    "connections": [
        {"name": "bastion", "kind": "ssh", "environment": "production", "classification": None},
        {"name": "crm", "kind": "postgres", "environment": "production", "classification": None},
    ]
}


@contextlib.asynccontextmanager
async def authority(folder: Path, *, credentials: str = "", **more: Any) -> AsyncIterator[Running]:
    """A service with an SSH connection and a key to sign certificates; credentials: that file of the policy data."""
    data = None
    if credentials:
        data = folder / "data"
        data.mkdir()
        (data / "credentials.yaml").write_text(credentials)
    document = {**SSH, "ssh": {"key": private(Ed25519PrivateKey.generate())}, **more}
    async with running(folder, document=document, data=data) as run:
        yield run


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Running]:
    async with authority(tmp_path) as started:
        yield started


async def certificate(
    run: Running, access: str, *metadata: tuple[str, str], key: PrivateKey | None = None, **fields: Any
) -> str:
    asked = {"connection": "bastion", "role": "executor", "ssh_public_key": line(key or Ed25519PrivateKey.generate())}
    answer = await run.decision.IssueSessionCredential(
        decision_pb2.IssueSessionCredentialRequest(**{**asked, **fields}),
        metadata=metadata or (("authorization", f"Bearer {access}"),),
        timeout=10,
    )
    return str(answer.credential)


async def refused(run: Running, access: str, *metadata: tuple[str, str], **fields: Any) -> tuple[str, str]:
    """The reason and the words."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await certificate(run, access, *metadata, **fields)
    return reason(caught.value), caught.value.details() or ""


async def records(run: Running, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(text) async for _, text in run.service.log.read(0, None)]
    return [record for record in found if record["kind"] == kind]


def written(folder: Path, text: str) -> str:
    (folder / "it-cert.pub").write_text(text + "\n")
    return str(folder / "it-cert.pub")


def keygen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [openssh.tool("ssh-keygen"), *arguments], capture_output=True, text=True, check=False, timeout=10
    )


async def revoked(run: Running, text: str, folder: Path) -> bool:
    """As OpenSSH reads the list that the service serves."""
    async with httpx.AsyncClient() as client:
        (folder / "krl").write_bytes((await client.get(f"http://{run.service.http.address}/ssh/krl")).content)
    done = keygen("-Q", "-f", str(folder / "krl"), written(folder, text))
    assert (done.returncode == 0) != ("REVOKED" in done.stdout), done.stdout + done.stderr
    return done.returncode != 0


async def test_it_is_for_the_tokens_subject_and_recorded(run: Running, tmp_path: Path) -> None:
    text = await certificate(run, token(run, "executor-7", "executor", jti="one"), force_command="uptime")
    shown = keygen("-L", "-f", written(tmp_path, text)).stdout
    (record,) = await records(run, "credential-issued")
    assert f'Key ID: "{record["key_id"]}"' in shown
    assert f"Serial: {record['serial']}\n" in shown
    assert "force-command uptime" in shown
    assert "source-address 127.0.0.0/8,::1/128" in shown
    assert record["credential"] == "ssh-certificate"
    assert (record["connection"], record["role"], record["command"]) == ("bastion", "executor", "uptime")
    assert record["subject"]["name"] == "executor-7"
    async with httpx.AsyncClient() as client:
        ca = await client.get(f"http://{run.service.http.address}/ssh/ca")
    assert ca.text.startswith("ssh-ed25519 ")


async def test_it_opens_no_session_as_a_password(run: Running) -> None:
    text = await certificate(run, token(run, "executor-7", "executor"))
    for secret in (text, text.split()[1], "tkp_" + text.split()[1][:64]):
        opened = await run.open("", "executor", token=secret)
        assert not opened.session.id
        assert opened.decision.reason_code.startswith("TOKEN_")


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"connection": "crm"}, "CALL_DENIED", "DUTY-CREDENTIAL-SSH"),
    ({"connection": "nowhere"}, "UNKNOWN_CONNECTION", "no connection"),
    ({"role": "reviewer"}, "TOKEN_ROLE", "role"),
    ({"uses": 2}, "INVALID_REQUEST", "uses"),
    ({"ssh_public_key": "ssh-ed25519 x"}, "INVALID_REQUEST", "public key"),
    ({"force_command": "a\nb"}, "INVALID_REQUEST", "printable"),
    ({"force_command": "a" * 5000}, "INVALID_REQUEST", "printable"),
    ({"ssh_public_key": "", "force_command": "a"}, "INVALID_REQUEST", "command"),
]


async def test_what_is_not_given(run: Running) -> None:
    for fields, said, words in REFUSED:
        found = await refused(run, token(run, "executor-7", "executor"), **fields)
        assert (found[0], words in found[1]) == (said, True), (fields, found)
    assert not await records(run, "credential-issued")


async def test_a_bound_token_needs_its_proof_for_one(run: Running) -> None:
    holder = Holder()
    access = bound(run, holder, "executor-7", "executor")
    assert (await refused(run, access))[0] == "TOKEN_PROOF"
    proof = holder.proof(url(run, RPC), access, nonce=await nonce(run, holder, access))
    assert await certificate(run, access, ("authorization", f"DPoP {access}"), ("dpop", proof))
    again = Holder().proof(url(run, RPC), access, nonce=await nonce(run, holder, access))
    assert (await refused(run, access, ("authorization", f"DPoP {access}"), ("dpop", again)))[0] != ""


async def test_where_policy_asks_for_proof_a_bearer_token_gets_none(tmp_path: Path) -> None:
    async with authority(tmp_path, credentials="uses: {}\nssh: {proof: ['*'], commands: {}}\n") as run:
        access = token(run, "executor-7", "executor")
        code, words = await refused(run, access)
        assert code == "CALL_DENIED"
        assert "DUTY-CREDENTIAL-PROOF" in words
        (record,) = await records(run, "call-denied")
        assert record["subject"]["name"] == "executor-7"
        holder = Holder()
        access = bound(run, holder, "executor-7", "executor")
        proof = holder.proof(url(run, RPC), access, nonce=await nonce(run, holder, access))
        assert await certificate(run, access, ("authorization", f"DPoP {access}"), ("dpop", proof))


@pytest.mark.parametrize(
    "what",
    [
        {"token": "one", "issuer": "urn:twokey:dev"},
        {"party": "executor-7"},
        {"party": "alice"},
        {"role": "executor"},
    ],
    ids=["token", "agent", "owner", "role"],
)
async def test_a_revocation_lists_it(run: Running, tmp_path: Path, what: dict[str, str]) -> None:
    other = await certificate(run, token(run, "planner-3", "planner", jti="two"), role="planner")
    access = token(run, "executor-7", "executor", jti="one")
    text = await certificate(run, access)
    lists = run.service.ssh_lists
    assert not await revoked(run, text, tmp_path)
    await run.decision.Revoke(
        decision_pb2.RevokeRequest(reason="key stolen", **what), metadata=run.bearer("carol", "admin"), timeout=10
    )
    lists.forget()
    assert await revoked(run, text, tmp_path)
    assert not await revoked(run, other, tmp_path)
    assert (await refused(run, access))[0] == "TOKEN_REVOKED"


async def test_without_a_key_none_are_issued(tmp_path: Path) -> None:
    async with running(tmp_path, document=SSH) as run:
        assert (await refused(run, token(run, "executor-7", "executor")))[0] == "INVALID_REQUEST"
        async with httpx.AsyncClient() as client:
            for path in ("ca", "krl"):
                assert (await client.get(f"http://{run.service.http.address}/ssh/{path}")).status_code == 404
