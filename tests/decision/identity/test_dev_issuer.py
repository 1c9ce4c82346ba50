"""The dev issuer: who may mint what, over which socket, and what its tokens are worth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from joserfc.jwk import OKPKey

from decision.errors import DecisionError, PolicyLoadError, TokenError
from decision.identity import dev_issuer
from decision.identity.dev_issuer import SOCKET, DevIssuer, MintError, refuse_off_loopback, start_dev_issuer
from decision.identity.documents import parse
from decision.identity.people import PeopleBook, read_people
from decision.identity.tokens import Verifier, build_verifier
from decision.model import IdentityKey
from tests.decision.identity.support import sign

PEOPLE = b"""
principals: [{name: alice}, {name: rita, groups: [dba]}]
agents: [{name: planner-1, owner: alice}, {name: helper, owner: planner-1}]
"""
ISS = "urn:twokey:dev"


def people() -> PeopleBook:
    return read_people(parse(PEOPLE, "people.yaml"), dev=True)


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[DevIssuer]:
    issuer = await start_dev_issuer(tmp_path, people=people)
    yield issuer
    await issuer.close()


@pytest.fixture
def verifier(issuer: DevIssuer) -> Verifier:
    return build_verifier([], dev=True, dev_issuer=issuer)


async def ask(folder: Path, line: bytes) -> dict[str, str]:
    reader, writer = await asyncio.open_unix_connection(str(folder / SOCKET))
    try:
        writer.write(line)
        await writer.drain()
        async with asyncio.timeout(10):
            answer = await reader.readline()
        return dict(json.loads(answer)) if answer else {}
    except ConnectionResetError:  # dropped with what we sent unread
        return {}
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def code(verifier: Verifier, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token)
    return caught.value.code


async def test_a_token_through_the_socket(tmp_path: Path, issuer: DevIssuer, verifier: Verifier) -> None:
    request = {"subject": "alice", "role": "planner", "actors": ["helper", "planner-1"], "ttl_s": 60}
    answer = await ask(tmp_path, orjson.dumps(request) + b"\n")
    verified = await verifier.verify(answer["token"])
    assert verified.identity == IdentityKey(ISS, "alice")
    assert verified.actors == (IdentityKey(ISS, "helper"), IdentityKey(ISS, "planner-1"))
    assert (verified.roles, verified.dev) == (("planner",), True)
    assert 0 < verified.expires.timestamp() - time.time() <= 60
    subject = people().subject(verified, role="planner")
    assert subject.closure == ("alice", "helper", "planner-1")


async def test_roles_and_defaults(tmp_path: Path, verifier: Verifier) -> None:
    answer = await ask(tmp_path, b'{"subject": "rita", "roles": ["reviewer", "auditor", "auditor"]}\n')
    assert (await verifier.verify(answer["token"])).roles == ("auditor", "reviewer")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"{}\n",
        b'{"subject": "nobody", "role": "planner"}\n',
        b'{"subject": "alice"}\n',
        b'{"subject": "alice", "role": "a", "roles": ["b"]}\n',
        b'{"subject": "alice", "role": "Bad Role"}\n',
        b'{"subject": "alice", "role": ""}\n',
        b'{"subject": "alice", "role": 1}\n',
        b'{"subject": "alice", "roles": "planner"}\n',
        b'{"subject": ["alice"], "role": "planner"}\n',
        b'{"subject": "alice", "role": "planner", "iss": "x"}\n',
        b'{"subject": "alice", "role": "planner", "actors": ["nobody"]}\n',
        b'{"subject": "alice", "role": "planner", "actors": ["alice"]}\n',
        b'{"subject": "alice", "role": "planner", "actors": ["helper", "helper"]}\n',
        b'{"subject": "alice", "role": "planner", "actors": "helper"}\n',
        b'{"subject": "alice", "role": "planner", "actors": [1]}\n',
        b'{"subject": "alice", "role": "planner", "ttl_s": 0}\n',
        b'{"subject": "alice", "role": "planner", "ttl_s": 86401}\n',
        b'{"subject": "alice", "role": "planner", "ttl_s": "60"}\n',
        b'{"subject": "alice", "role": "planner", "ttl_s": true}\n',
        b'{"subject": "alice", "role": "planner", "ttl_s": 1e999}\n',
    ],
)
async def test_requests_that_are_refused(tmp_path: Path, issuer: DevIssuer, line: bytes) -> None:
    answer = await ask(tmp_path, line)
    assert list(answer) == ["error"]
    assert answer["error"]


async def test_a_token_too_large_to_be_read_is_not_made(tmp_path: Path, issuer: DevIssuer) -> None:
    roles = [f"role-{n}" for n in range(1500)]
    assert "too large" in (await ask(tmp_path, orjson.dumps({"subject": "alice", "roles": roles}) + b"\n"))["error"]


async def test_a_line_without_end_is_dropped(tmp_path: Path, issuer: DevIssuer) -> None:
    assert await ask(tmp_path, b"x" * 100_000) == {}
    assert "token" in await ask(tmp_path, b'{"subject": "alice", "role": "planner"}\n')


async def test_a_silent_caller_is_dropped(tmp_path: Path, issuer: DevIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_issuer, "_REQUEST_DEADLINE_S", 0.1)
    assert await ask(tmp_path, b'{"subject"') == {}


async def test_another_user_gets_nothing(tmp_path: Path, issuer: DevIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_issuer, "_peer_uid", lambda _writer: os.getuid() + 1)
    assert await ask(tmp_path, b'{"subject": "alice", "role": "planner"}\n') == {}


async def test_the_kernel_names_the_peer(tmp_path: Path, issuer: DevIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = dev_issuer._peer_uid

    def spy(writer: asyncio.StreamWriter) -> int:
        seen.append(real(writer))
        return seen[-1]

    monkeypatch.setattr(dev_issuer, "_peer_uid", spy)
    await ask(tmp_path, b'{"subject": "alice", "role": "planner"}\n')
    assert seen == [os.getuid()]


async def test_the_socket_is_ours_alone(tmp_path: Path, issuer: DevIssuer) -> None:
    path = tmp_path / SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_folder_left_open_is_closed_and_a_stale_socket_replaced(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir(mode=0o777)
    (tmp_path / "dev").chmod(0o777)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / SOCKET))
    stale.close()
    issuer = await start_dev_issuer(tmp_path, people=people)
    assert stat.S_IMODE((tmp_path / "dev").stat().st_mode) == 0o700
    assert "token" in await ask(tmp_path, b'{"subject": "alice", "role": "planner"}\n')
    await issuer.close()
    assert not (tmp_path / SOCKET).exists()


async def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dev").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DecisionError, match="is not a folder of this user"):
        await start_dev_issuer(tmp_path, people=people)


async def test_a_path_too_long_for_a_socket_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    issuer = await start_dev_issuer(folder, people=people)
    (tmp_path / "short").symlink_to(folder / "dev")
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "short" / "issuer.sock"))
    writer.write(b'{"subject": "alice", "role": "planner"}\n')
    assert b"token" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    await issuer.close()
    assert not (folder / SOCKET).exists()


async def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "dev" / "issuer.sock").mkdir(parents=True)
    with pytest.raises(DecisionError, match="can't listen"):
        await start_dev_issuer(tmp_path, people=people)


async def test_expired(issuer: DevIssuer, verifier: Verifier) -> None:
    past = DevIssuer(people, clock=lambda: time.time() - 100)
    old = build_verifier([], dev=True, dev_issuer=past)
    assert await code(old, past.mint("alice", ["planner"], ttl_s=60)) == "TOKEN_EXPIRED"
    assert await old.verify(past.mint("alice", ["planner"], ttl_s=80))  # within the leeway


async def test_forged_and_of_another_run(issuer: DevIssuer, verifier: Verifier) -> None:
    other = DevIssuer(people)
    assert await code(verifier, other.mint("alice", ["planner"])) == "TOKEN_SIGNATURE"
    token = issuer.mint("alice", ["planner"])
    head, body, signature = token.split(".")
    assert await code(verifier, f"{head}.{body}.{'A' * len(signature)}") == "TOKEN_SIGNATURE"
    assert await code(verifier, f"{head}.{issuer.mint('rita', ['dba']).split('.')[1]}.{signature}") == "TOKEN_SIGNATURE"
    key = OKPKey.generate_key("Ed25519")
    claims = {"iss": ISS, "aud": "twokey", "sub": "alice"}
    own = sign(json.dumps(claims), {"alg": "Ed25519", "kid": issuer._kid}, key)
    assert await code(verifier, own) == "TOKEN_SIGNATURE"


@pytest.mark.parametrize("typ", ["JWT", "dpop+jwt", None])
async def test_another_type_signed_by_the_right_key(issuer: DevIssuer, verifier: Verifier, typ: object) -> None:
    header: dict[str, object] = {"alg": "Ed25519", "kid": issuer._kid, "typ": typ}
    assert await code(verifier, sign('{"iss": "urn:twokey:dev"}', header, issuer._key)) == "TOKEN_TYPE"


async def test_without_the_dev_issuer_its_tokens_are_strangers(issuer: DevIssuer) -> None:
    assert await code(build_verifier([], dev=False), issuer.mint("alice", ["planner"])) == "TOKEN_ISSUER"
    with pytest.raises(PolicyLoadError):
        build_verifier([{"issuer": ISS, "audience": "twokey"}], dev=True)


def test_names_follow_people_as_they_are_now() -> None:
    now = [people()]
    issuer = DevIssuer(lambda: now[0])
    assert issuer.mint("rita", [])
    now[0] = read_people(parse(b"principals: [{name: alice}]\n", "p.yaml"), dev=True)
    with pytest.raises(MintError, match="rita"):
        issuer.mint("rita", [])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:5432/crm",
        "postgresql://u:p@localhost/crm",
        "postgresql+asyncpg://u@[::1]:5432/crm",
        "postgresql:///crm?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun/crm",
        "postgresql://127.0.0.1,127.0.0.2/crm",
        "sqlite:////abs/state/twokey.db",
        "sqlite+aiosqlite:///state/twokey.db",
    ],
)
def test_loopback(url: str) -> None:
    refuse_off_loopback([url], "sqlite:///x.db")
    refuse_off_loopback([], url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:topsecret@10.0.0.5:5432/crm",
        "postgresql://db.example/crm",
        "postgresql://0.0.0.0/crm",
        "postgresql://127.0.0.1,10.0.0.5/crm",
        "postgresql://127.0.0.1/crm?host=10.0.0.5",
        "postgresql://127.0.0.1/crm?hostaddr=10.0.0.5",
        "postgresql://127.0.0.1/crm?service=prod",
        "postgresql://localhost.evil.example/crm",
        "postgresql://127.0.0.1:topsecret@10.0.0.5/crm",
        "postgresql:///crm",
        "",
        "nonsense",
    ],
)
def test_off_loopback(url: str) -> None:
    for upstreams, store in (([url], "sqlite:///x.db"), ([], url)):
        with pytest.raises(DecisionError) as caught:
            refuse_off_loopback(upstreams, store)
        assert caught.value.code == "DEV_OFF_LOOPBACK"
        assert "topsecret" not in str(caught.value)
