"""What OPA lets through its gate, and which policies it never starts with."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from decision.errors import PolicyLoadError
from decision.model import Outcome
from decision.policy.bundle import load_policy
from decision.policy.engine import Engine, start_engine
from decision.policy.opa_process import OpaSettings
from decision.policy.staging import staged
from decision.policy.wire import BASE
from tests.decision.policy.support import local, make_sources, opa_path


def asking(engine: Engine, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Another client than ours, on OPA's own socket."""
    running = local(engine)._running
    assert running is not None
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(running.home / "opa")), headers=headers)


async def test_the_gate_refuses_everything_else_even_with_the_token(engine: Engine) -> None:
    base = f"{BASE}/v1"
    question = f"{base}/data/twokey/main/decision"
    refused = [
        ("PUT", f"{base}/policies/x", b"package twokey.main"),
        ("GET", f"{base}/policies", b""),
        ("PATCH", f"{base}/data/twokey", b"[]"),
        ("PUT", f"{base}/data/twokey/config", b"{}"),
        ("GET", f"{base}/data/twokey/config", b""),
        ("GET", question, b""),
        ("POST", f"{base}/data/twokey/config", b"{}"),
        ("POST", question, b"{}"),  # strict built-in errors left out
        ("POST", f"{question}?strict-builtin-errors=false", b"{}"),
        ("POST", f"{question}?strict-builtin-errors=true&explain=full", b"{}"),
        ("POST", f"{base}/query", b'{"query": "data"}'),
        ("POST", f"{base}/compile", b'{"query": "data.twokey"}'),
        ("GET", f"{BASE}/metrics", b""),
        ("GET", f"{base}/config", b""),
        ("POST", f"{BASE}/v0/data/twokey/main/decision", b"{}"),
        ("POST", f"{BASE}/", b"{}"),
    ]
    async with asking(engine, {"Authorization": f"Bearer {local(engine)._token}"}) as session:
        for method, url, body in refused:
            async with session.request(method, url, data=body) as response:
                assert response.status == 401, (method, url)
        body = b'{"input": {"question": "allow"}}'
        async with session.post(f"{question}?strict-builtin-errors=true", data=body) as ok:
            assert ok.status == 200
        async with session.get(f"{BASE}/health") as ok:
            assert ok.status == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_without_the_token_nothing_answers(engine: Engine, headers: Mapping[str, str]) -> None:
    async with asking(engine, headers) as session:
        url = f"{BASE}/v1/data/twokey/main/decision?strict-builtin-errors=true"
        async with session.post(url, data=b"{}") as response:
            assert response.status == 401
        async with session.get(f"{BASE}/health") as response:
            assert response.status == 401


@pytest.mark.parametrize(
    "module",
    [
        "package system.authz\n\nallow := true\n",
        "package twokey.x\n\nallow if http.send({}).status_code == 200\n",
        "package twokey.x\n\nnow := time.now_ns()\n",
        "package twokey.x\n\nenv := opa.runtime()\n",
        "package other\n\nallow := true\n",
        "package twokey.x\n\nallow if {\n\tunused := 1\n}\n",
    ],
)
async def test_policies_that_reach_out_of_their_place_are_refused(tmp_path: Path, engine: Engine, module: str) -> None:
    (tmp_path / "rego" / "bad.rego").write_text(module)
    with pytest.raises(PolicyLoadError, match="the policy was refused"):
        await engine.reload()


@pytest.mark.parametrize("binary", ["/nonexistent/opa", "/bin/true"])
async def test_no_opa_is_said_clearly(tmp_path: Path, binary: str) -> None:
    with pytest.raises(PolicyLoadError, match=r"(?i)opa"):
        await start_engine(make_sources(tmp_path), OpaSettings(Path(binary)), watch=False)


def test_the_staged_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    policy = load_policy(make_sources(tmp_path), engine_version="1")
    with staged(policy, "topsecret-token") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert len(texts) == 5
        assert not any(b"topsecret-token" in text for text in texts)
    assert not folder.exists()


ANNOTATED = """# METADATA
# scope: subpackages
# schemas:
#   - input: schema.input
package twokey
"""


async def test_a_misspelt_input_field_is_a_compile_error(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "rego" / "root.rego").write_text(ANNOTATED)
    (tmp_path / "rego" / "more.rego").write_text("package twokey.more\n\nx if input.questoin == 1\n")
    with pytest.raises(PolicyLoadError, match="questoin"):
        await engine.reload()


async def test_the_shipped_policy_is_accepted_and_denies_what_it_does_not_know(tmp_path: Path) -> None:
    sources = replace(make_sources(tmp_path), rego=None)
    engine = await start_engine(sources, OpaSettings(opa_path()), watch=False)
    try:
        assert (await engine.evaluate({"question": "unheard-of"})).outcome is Outcome.DENY
    finally:
        await engine.close()
