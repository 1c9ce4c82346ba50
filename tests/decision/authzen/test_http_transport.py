"""AuthZEN's HTTP binding: who may ask and how, identifiers, caching, and what comes too slow or at once."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from decision.authzen import http, message
from decision.authzen.http import METADATA
from tests.decision.authzen.support import ASKED, MANY, ONE, POLICY, Pep, opened
from tests.decision.identity.holder import Holder
from tests.decision.mutual import DOMAIN, Mutual, mutual, x5t
from tests.decision.rpc.test_auth import bound, token
from tests.pki import Pair

WHOLE = json.dumps(ASKED).encode()
PUBLIC = "https://pdp.example.com"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_x_request_id_is_echoed_whatever_is_answered(pep: Pep) -> None:
    tried = {
        200: pep.spelt(WHOLE, "X-Request-ID: a"),
        400: pep.spelt(b"{", "X-Request-ID: a"),
        401: pep.spelt(WHOLE, "X-Request-ID: a").replace(b"Bearer", b"Basic"),
        404: pep.spelt(WHOLE, "X-Request-ID: a", path="/access/v1/search/subject"),
        405: pep.spelt(b"", "X-Request-ID: a", method="PUT"),
        413: pep.spelt(b" " * 70_000 + WHOLE, "X-Request-ID: a"),
    }
    for status, sent in tried.items():
        ((found, headers, _),) = await pep.raw(sent)
        assert (found, headers["x-request-id"]) == (status, "a")
        assert headers["cache-control"] == "no-store"
    async with pep.http.get(f"{pep.base}/metrics", headers={"X-Request-ID": "m"}) as said:
        assert said.headers["X-Request-ID"] == "m"


@pytest.mark.parametrize("given", ["", "x" * 8000, 'a"b;c=d, e', "ünïcode ✓", "%0d%0aSet-Cookie: x"])
async def test_x_request_id_is_any_text(pep: Pep, given: str) -> None:
    ((status, headers, _),) = await pep.raw(pep.spelt(WHOLE, f"X-Request-ID: {given}"))
    assert (status, headers["x-request-id"]) == (200, given)
    assert "set-cookie" not in headers


async def test_an_identifier_that_no_header_can_hold_is_left_out(pep: Pep) -> None:
    for raw in (b"\xff\xfe", b"a\tb", b"a\x7fb"):
        ((status, headers, _),) = await pep.raw(pep.spelt(WHOLE, "X-Request-ID: ID").replace(b": ID", b": " + raw))
        assert (status, "x-request-id" in headers) in {(200, False), (400, False)}, raw


async def test_a_fault_of_ones_own_is_500_without_its_words(pep: Pep, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_body: bytes) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(message, "parsed", broken)
    status, body, headers = await pep.post(ONE, ASKED, X_Request_ID="f")
    assert (status, headers["X-Request-ID"]) == (500, "f")
    assert body == {"error": {"status": 500, "message": "internal error"}}


async def test_both_ways_to_authenticate_are_offered(pep: Pep) -> None:
    """RFC 6750 section 3, RFC 9449 section 7.1: no error is named to who brought nothing."""
    async with pep.http.post(pep.base + ONE, json=ASKED) as said:
        assert said.status == 401
        first = said.headers.getall("WWW-Authenticate")
    assert [one.partition(" ")[0] for one in first] == ["DPoP", "Bearer"]
    assert "error=" not in "".join(first)
    _, _, headers = await pep.post(ONE, ASKED, Authorization="Bearer x.y.z")
    second = headers.getall("WWW-Authenticate")
    assert all('error="invalid_token"' in one for one in second)
    assert [one.partition(" ")[0] for one in second] == ["DPoP", "Bearer"]
    for scheme in ("Basic eA==", "bearer", "Digest x"):
        assert (await pep.post(ONE, ASKED, Authorization=scheme))[0] == 401
    doubled = pep.spelt(WHOLE, f"Authorization: Bearer {pep.token}")
    assert (await pep.raw(doubled))[0][0] == 401
    in_query = pep.spelt(WHOLE, path=f"{ONE}?access_token={pep.token}").replace(b"Authorization", b"X-Nothing")
    assert (await pep.raw(in_query))[0][0] == 401


async def test_a_scoped_token_needs_the_scope_for_it(pep: Pep) -> None:
    pep.token = token(pep.run, "executor-7", "application", scope="twokey:crm:execute twokey:access:evaluate")
    assert await pep.decides() is True
    pep.token = token(pep.run, "executor-7", "application", scope="twokey:crm:execute")
    for path in (ONE, MANY):
        status, body, headers = await pep.post(path, ASKED)
        assert status == 403
        assert "decision" not in body
        assert headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="twokey:access:evaluate"'
    denied = await pep.records("call-denied")
    assert "DUTY-SCOPE-ACCESS" in json.dumps(denied[-1])
    pep.token = token(pep.run, "executor-7", "executor", scope="twokey:access:evaluate")  # a scope is no role
    status, _, headers = await pep.post(ONE, ASKED)
    assert (status, "WWW-Authenticate" in headers) == (403, False)


async def test_a_bound_token_needs_its_proof_for_this_very_address(tmp_path: Path) -> None:
    async with opened(tmp_path, public={"http": [PUBLIC]}) as pep:
        holder = Holder()
        pep.token = held = bound(pep.run, holder, "executor-7", "application")
        status, _, headers = await pep.post(ONE, ASKED)  # DP-13
        assert status == 401
        assert headers.getall("WWW-Authenticate")[0].startswith('DPoP error="invalid_dpop_proof"')
        nonce: str | None = None
        for path in (ONE, MANY):
            for origin in (PUBLIC, pep.base):

                async def proved(url: str, nonce: str | None, path: str = path) -> tuple[int, Any, Any]:
                    proof = holder.proof(url, held, nonce=nonce)
                    return await pep.post(path, ASKED, Authorization=f"DPoP {held}", DPoP=proof)

                status, _, headers = await proved(origin + path, nonce)
                if status == 401:
                    assert 'error="use_dpop_nonce"' in headers["WWW-Authenticate"]
                    nonce = headers["DPoP-Nonce"]
                    status, _, _ = await proved(origin + path, nonce)
                assert status == 200
            for wrong in (PUBLIC + METADATA, f"https://evil.example{path}", PUBLIC + path + "/"):
                assert (await proved(wrong, nonce))[0] == 401
        kept = holder.proof(PUBLIC + ONE, held, nonce=nonce)
        told = [(await pep.post(ONE, ASKED, Authorization=f"DPoP {held}", DPoP=kept))[0] for _ in range(2)]
        assert told == [200, 401]  # DP-15


async def post(at: Mutual, path: str, shown: Pair | None, held: str) -> httpx.Response:
    context = ssl.create_default_context(cadata=at.authority.pem.decode())
    if shown is not None:
        context.load_cert_chain(*shown.write(at.folder, "client"))
    async with httpx.AsyncClient(verify=context) as client:
        url = f"https://{at.run.service.http.address}{path}"
        return await client.post(url, json=ASKED, headers={"Authorization": f"Bearer {held}"})


async def test_a_token_bound_to_a_certificate_counts_with_it_alone(tmp_path: Path) -> None:
    """RFC 8705, at both endpoints; and the metadata document of a service with TLS is https."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "authzen.yaml").write_text("\n".join(x for x in POLICY.splitlines() if "entrypoint" not in x))
    async with mutual(tmp_path, data=data) as at:
        mine, other = at.pair(f"{DOMAIN}/executor-7"), at.pair(f"{DOMAIN}/mallory")
        held = token(at.run, "executor-7", "application", cnf={"x5t#S256": x5t(mine)})
        for path in (ONE, MANY):
            for shown in (None, other):
                refused = await post(at, path, shown, held)
                assert refused.status_code == 401
                assert "decision" not in refused.json()
            told = await post(at, path, mine, held)
            assert (told.status_code, told.json()) == (200, {"decision": True})
        context = ssl.create_default_context(cadata=at.authority.pem.decode())
        async with httpx.AsyncClient(verify=context) as client:
            base = f"https://{at.run.service.http.address}"
            found = (await client.get(base + METADATA)).json()
            assert all(one.startswith(base) for one in found.values() if isinstance(one, str))


async def metadata(pep: Pep, host: str, *lines: str, target: str = METADATA) -> tuple[int, dict[str, str], Any]:
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", *lines]
    return (await pep.raw("\r\n".join([*head, "", ""]).encode()))[0]


async def test_metadata_names_an_address_of_the_service_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, public={"http": [PUBLIC, "http://pdp.plain.example"]}) as pep:
        for host in ("pdp.example.com", "PDP.Example.COM", "pdp.example.com:443"):
            status, headers, found = await metadata(pep, host, "X-Request-ID: i")
            assert (status, headers["x-request-id"], headers["content-type"]) == (
                200,
                "i",
                "application/json; charset=utf-8",
            )
            assert headers["cache-control"] == "public, max-age=300"
            assert found["policy_decision_point"] == PUBLIC
            assert found["access_evaluation_endpoint"] == PUBLIC + ONE
            assert not [name for name in found if name.startswith(("search", "partial", "signed"))]
            assert all(found.values())  # parameters without a value are left out
        port = pep.base.rpartition(":")[2]
        assert (await metadata(pep, f"localhost:{port}"))[2]["policy_decision_point"] == f"http://localhost:{port}"
        for host in (
            "evil.example", "pdp.example.com.evil.example", "pdp.example.com:8443", "pdp.example.com@evil.example",
            "evil.example#pdp.example.com", "pdp.example.com/", "localhost", "127.0.0.1", "pdp.plain.example", "",
            "[::1]", "xn--pdp-example.com", "pdp.example.com.",
        ):  # fmt: skip
            status, headers, found = await metadata(pep, host)
            assert status in {400, 404}, host
            assert "policy_decision_point" not in str(found)
        for line in ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Original-URL: /evil"):
            assert (await metadata(pep, "pdp.example.com", line))[2]["policy_decision_point"] == PUBLIC
        status, _, found = await metadata(pep, "pdp.example.com", target=f"http://evil.example{METADATA}")
        assert status == 404  # who is meant is said by the request's target, then
        assert "evil" not in str(found)
        status, _, _ = await metadata(pep, "pdp.example.com", "Host: evil.example")
        assert status == 400
        for target in (METADATA + "/", METADATA + "/tenant", METADATA.upper(), "/x/.." + METADATA + "x"):
            assert (await metadata(pep, "pdp.example.com", target=target))[0] in {400, 404}


async def test_other_methods_and_other_origins(pep: Pep) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"):
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for path in (ONE, MANY):
            async with pep.http.request(method, pep.base + path, headers=headers) as said:
                assert (said.status, said.headers["Allow"]) == (405, "POST")
                assert not [name for name in said.headers if name.lower().startswith("access-control")]
    async with pep.http.head(pep.base + METADATA) as said:
        assert said.status == 200
    for name in ("X-HTTP-Method-Override", "X-Method-Override"):
        async with pep.http.get(pep.base + ONE, headers={name: "POST"}) as said:
            assert said.status == 405
    for path in (ONE + "/", ONE.upper(), "/access/v2/evaluation", "/access/v1", "/access/v1/search/resource"):
        assert (await pep.raw(pep.spelt(WHOLE, path=path)))[0][0] == 404
    assert (await pep.post(ONE + "?decision=true", {**ASKED, "action": {"name": "write"}}))[1]["decision"] is False


async def test_pipelined_questions_are_answered_in_their_order(pep: Pep) -> None:
    denied = json.dumps({**ASKED, "action": {"name": "write"}}).encode()
    several = [pep.spelt(denied if number % 2 else WHOLE, f"X-Request-ID: {number}") for number in range(8)]
    found = await pep.raw(b"".join(several), answers=8)
    assert [headers["x-request-id"] for _, headers, _ in found] == [str(number) for number in range(8)]
    assert [body["decision"] for _, _, body in found] == [number % 2 == 0 for number in range(8)]


async def test_requests_smuggled_behind_another_are_none(pep: Pep) -> None:
    """Two lengths, or a length and chunks: no second reading of where the request ends."""
    whole = pep.spelt(WHOLE)
    length = f"Content-Length: {len(WHOLE)}\r\n".encode()
    for line in (b"Content-Length: 5\r\n" + length, b"Transfer-Encoding: chunked\r\n" + length):
        ((status, _, _),) = await pep.raw(whole.replace(length, line))
        assert status == 400


async def test_a_body_that_comes_too_slowly_is_not_waited_for(pep: Pep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.3)
    whole = pep.spelt(WHOLE, "X-Request-ID: slow")
    ((status, headers, body),) = await pep.raw(whole[:-5])
    assert (status, headers["x-request-id"], headers["connection"]) == (408, "slow", "close")
    assert "decision" not in body


async def test_many_connections_that_say_nothing_keep_nobody_out(pep: Pep) -> None:
    host, _, port = pep.run.service.http.address.rpartition(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
    try:
        for _, writer in silent[::2]:
            writer.write(b"POST /access/v1/evaluation HTTP/1.1\r\nX-Slow:")
        async with asyncio.timeout(5):
            assert await pep.decides() is True
    finally:
        for _, writer in silent:
            writer.close()


async def test_heads_that_never_end_are_cut_off(pep: Pep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: bytes that keep coming don't keep the connection."""
    host, _, port = pep.run.service.http.address.rpartition(":")
    runner = pep.run.service.http._runner
    assert runner.server is not None
    assert runner._kwargs["keepalive_timeout"] == 15.0  # the library's one limit on a head, here made short
    monkeypatch.setitem(runner.server._kwargs, "keepalive_timeout", 0.5)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /access/v1/evaluation HTTP/1.1\r\n")

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.ensure_future(drip())
    try:
        async with asyncio.timeout(5):
            assert not await reader.read()
    except ConnectionResetError:
        pass
    finally:
        dripping.cancel()
        writer.close()
