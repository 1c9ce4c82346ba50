"""The command line with a token that is bound to a key: it signs each call, and takes the nonce it is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client, dpop
from decision.cli.errors import CliError
from decision.cli.options import Who
from tests.decision.identity.holder import Holder
from tests.decision.rpc.test_auth import bound
from tests.decision.running import running


def write(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path


@pytest.mark.parametrize("key", [ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")], ids=["EC", "Ed25519"])
async def test_a_bound_token_is_used_with_its_key(tmp_path: Path, key: ECKey | OKPKey) -> None:
    async with running(tmp_path) as run:
        access = bound(run, Holder(key), "carol", "admin")
        who = Who(
            config_path=Path("none"),
            server=run.service.server.address,
            ca=write(tmp_path / "ca.pem", run.service._settings.run.tls.ca),
            token_file=write(tmp_path / "token", access),
            dpop_key=write(tmp_path / "key", json.dumps(key.as_dict(private=True))),
        )

        def ask(who: Who) -> int:
            with client.connect(who) as caller:
                stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
                for _ in range(2):  # the second with the nonce of the first
                    found = stub.ListSessions(
                        decision_pb2.ListSessionsRequest(), metadata=caller.metadata, timeout=client.TIMEOUT_S
                    )
            return len(found.sessions)

        assert await asyncio.to_thread(ask, who) == 0
        without = Who(who.config_path, who.server, who.ca, who.token_file)
        with pytest.raises(CliError, match="TOKEN_PROOF"):
            await asyncio.to_thread(ask, without)


def test_keys_that_are_not_used(tmp_path: Path) -> None:
    public = json.dumps(RSAKey.generate_key(2048).as_dict(private=False))
    for number, content in enumerate(("", "{}", "[]", public, '{"kty": "oct", "k": "' + "A" * 43 + '"}')):
        with pytest.raises(CliError, match="private key"):
            dpop.read_key(write(tmp_path / str(number), content))
    shared = write(tmp_path / "shared", json.dumps(ECKey.generate_key("P-256").as_dict(private=True)))
    shared.chmod(0o644)
    with pytest.raises(CliError, match="others may read"):
        dpop.read_key(shared)
    with pytest.raises(CliError, match="can't be read"):
        dpop.read_key(tmp_path / "none")
