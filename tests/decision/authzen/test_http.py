"""AuthZEN over HTTP on a whole service: each line of the standard by its name."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from decision.authzen.http import METADATA
from tests.decision.authzen.support import ASKED, MANY, ONE, USER, Pep

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_az_1_decision_is_a_boolean_and_a_denial_is_200(pep: Pep) -> None:
    assert await pep.decides() is True
    assert await pep.decides(action={"name": "write"}) is False
    assert await pep.decides(subject={"type": "user", "id": "nobody"}) is False
    assert await pep.decides(subject={"type": "user", "id": "executor-7"}) is False  # the caller is not the subject
    status, _, headers = await pep.post(ONE, ASKED, Authorization="Bearer x", X_Request_ID="r-9")
    assert status == 401
    assert headers["WWW-Authenticate"]
    assert headers["X-Request-ID"] == "r-9"
    pep.token = pep.run.token("executor-7", "executor")
    status, body, _ = await pep.post(ONE, ASKED)  # authenticated, and no application
    assert status == 403
    assert "decision" not in body


async def test_az_2_what_is_malformed_is_400_and_unknown_fields_are_ignored(pep: Pep) -> None:
    assert await pep.decides(zz={"a": 1}, subject={**USER, "zz": 1}, context={"any": 1.5})
    missing = [{k: v for k, v in ASKED.items() if k != part} for part in ASKED]
    wrong: list[object] = [
        {**ASKED, "subject": "carol"}, {**ASKED, "subject": {"type": "user"}}, {**ASKED, "subject": {"id": "x"}},
        {**ASKED, "action": {}}, {**ASKED, "action": {"name": 1}}, {**ASKED, "resource": {"type": "todo"}},
        {**ASKED, "context": []}, {**ASKED, "subject": {**USER, "properties": []}}, [], "x", None,
    ]  # fmt: skip
    whole = json.dumps(ASKED).encode()
    raw = [
        b"", b"{", b"\xff", whole + b"x", whole.replace(b'"read"', b"NaN"), whole[:-1] + b',"context":{"a":NaN}}',
        whole[:-1] + b',"context":{"a":1e999}}', whole[:-1] + b',"action":{"name":"read"}}',
        whole[:-1] + b',"context":{"a":"\\ud800"}}', whole[:-1] + b',"context":{"a":' + b"9" * 30 + b"}}",
        whole[:-1] + b',"context":{"a":' + b"[" * 40 + b"]" * 40 + b"}}", b"[" * 20000, b"\xef\xbb\xbf" + whole,
    ]  # fmt: skip
    for body in [*missing, *wrong, *raw]:
        status, answer, _ = await pep.post(ONE, body)
        assert status == 400, (body, answer)
        assert "decision" not in answer
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"):
        assert (await pep.post(ONE, ASKED, Content_Type=kind))[0] == 400
    assert (await pep.post(ONE, ASKED, Content_Type="application/json; charset=utf-8"))[0] == 200
    assert (await pep.post(ONE, gzip.compress(whole), Content_Encoding="gzip"))[0] == 400
    assert (await pep.post(ONE, b" " * 70_000 + whole))[0] == 413


async def test_az_3_three_semantics(pep: Pep) -> None:
    actions = ["read", "write", "read"]

    async def ask(semantic: str | None, names: list[str]) -> list[bool]:
        body: dict[str, Any] = {**ASKED, "evaluations": [{"action": {"name": name}} for name in names]}
        if semantic:
            body["options"] = {"evaluations_semantic": semantic, "zz": 1}
        status, answer, _ = await pep.post(MANY, body)
        assert status == 200, answer
        return [one["decision"] for one in answer["evaluations"]]

    assert await ask(None, actions) == [True, False, True]
    assert await ask("execute_all", actions) == [True, False, True]
    assert await ask("deny_on_first_deny", actions) == [True, False]
    assert await ask("permit_on_first_permit", ["write", "read", "write"]) == [False, True]
    assert (await pep.post(MANY, {**ASKED, "evaluations": [{}], "options": {"evaluations_semantic": "x"}}))[0] == 400
    status, answer, _ = await pep.post(MANY, {**ASKED, "evaluations": [{}, {"action": {}}, 7, {}]})
    assert status == 200
    assert [one["decision"] for one in answer["evaluations"]] == [True, False, False, True]
    assert answer["evaluations"][1]["context"]["error"]["status"] == 400
    assert (await pep.post(MANY, {**ASKED, "evaluations": [{}] * 101}))[0] == 413
    assert (await pep.post(MANY, {**ASKED, "evaluations": {}}))[0] == 400


async def test_az_4_an_item_overrides_whole_and_no_items_are_a_single_question(pep: Pep) -> None:
    own = {"subject": {"type": "user", "properties": {}}}  # has no id of its own, and none of the default's
    _, answer, _ = await pep.post(MANY, {**ASKED, "evaluations": [own, {}]})
    assert [one["decision"] for one in answer["evaluations"]] == [False, True]
    for body in (ASKED, {**ASKED, "evaluations": []}):
        status, answer, _ = await pep.post(MANY, body)
        assert (status, answer) == (200, {"decision": True})
    assert (await pep.post(MANY, {"evaluations": []}))[0] == 400


async def test_az_6_request_id_and_metadata(pep: Pep) -> None:
    for body in (ASKED, b"{"):
        _, _, headers = await pep.post(ONE, body, X_Request_ID="abc-1")
        assert headers["X-Request-ID"] == "abc-1"
    async with pep.http.get(pep.base + ONE, headers={"X-Request-ID": "g"}) as answer:
        assert (answer.status, answer.headers["Allow"], answer.headers["X-Request-ID"]) == (405, "POST", "g")
    async with pep.http.get(pep.base + METADATA) as answer:
        found = await answer.json()
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.content_type == "application/json"
    assert found == {
        "policy_decision_point": pep.base,
        "access_evaluation_endpoint": pep.base + ONE,
        "access_evaluations_endpoint": pep.base + MANY,
        "access_request_endpoint": pep.base + "/access/v1/requests",
        "jwks_uri": pep.base + "/access/v1/jwks",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
        "obligations_supported": ["custom"],
        "supported_obligations": ["custom"],
    }
    for host in ("evil.example", "evil.example:80"):
        async with pep.http.get(pep.base + METADATA, headers={"Host": host}) as answer:
            assert answer.status == 404


async def test_a_foreign_entrypoint_answers_and_mains_denials_hold(pep: Pep) -> None:
    record = {"type": "record", "id": "r"}
    assert await pep.decides(resource=record) is False
    assert await pep.decides(resource={**record, "properties": {"status": "active"}}) is True
    assert await pep.decides(resource=record, subject={"type": "user", "id": "stranger"}) is True
    assert await pep.decides(resource={**record, "properties": {"status": "active"}}, action={"name": "purge"}) is False
    assert await pep.decides(resource=record, subject={"type": "robot", "id": "stranger"}) is False
    assert await pep.decides(resource={"type": "sql", "id": "x"}, action={"name": "sql.select"}) is False
    status, body, _ = await pep.post(ONE, {**ASKED, "resource": {"type": "broken", "id": "x"}})
    assert status == 503
    assert "decision" not in body


async def test_every_answer_is_recorded_before_it_is_given(pep: Pep) -> None:
    before = pep.run.service.log.size
    await pep.post(MANY, {**ASKED, "evaluations": [{}, {"action": {"name": "write"}}]})
    assert pep.run.service.log.size == before + 2
    held = asyncio.gather(*(pep.decides() for _ in range(20)))
    assert all(await held)
    assert pep.run.service.log.size == before + 22


async def test_ob_4_supported_obligations_of_a_request_are_advice(pep: Pep) -> None:
    assert await pep.decides(context={"supported_obligations": ["zz-unknown", 7]}) is True


async def test_a_denial_says_why(pep: Pep) -> None:
    _, body, _ = await pep.post(ONE, {**ASKED, "action": {"name": "purge"}})
    assert body["decision"] is False
    assert "AUTHZEN-NEVER" in body["context"]["rules"]
