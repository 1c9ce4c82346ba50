"""What is sent to AuthZEN's endpoints to break them, or to be permitted more: each stays refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from decision.authzen import http
from decision.authzen.message import MAX_DEPTH, MAX_ITEMS, MAX_TEXT
from tests.decision.authzen.support import ASKED, MANY, ONE, READ, TODO, USER, Pep

WHOLE = json.dumps(ASKED).encode()
RECORD = {"type": "record", "id": "r"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def context(value: bytes) -> bytes:
    return WHOLE[:-1] + b',"context":{"a":' + value + b"}}"


DEEP = b"[" * 28 + b"1" + b"]" * 28
NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"   ",
    "null": b"null",
    "a text": b'"x"',
    "a list of questions": b"[" + WHOLE + b"]",
    "two documents": WHOLE + WHOLE,
    "two lines of JSON": WHOLE + b"\n" + WHOLE,
    "a comment": WHOLE[:-1] + b"/* x */}",
    "a trailing comma": WHOLE[:-1] + b",}",
    "single quotes": WHOLE.replace(b'"', b"'"),
    "no quotes": WHOLE.replace(b'"read"', b"read"),
    "NaN": context(b"NaN"),
    "Infinity": context(b"Infinity"),
    "-Infinity": context(b"-Infinity"),
    "a float that is infinite": context(b"1e400"),
    "a leading zero": context(b"01"),
    "a plus": context(b"+1"),
    "hexadecimal": context(b"0x1"),
    "more than 64 bits": context(b"18446744073709551616"),
    "5,000 digits": context(b"9" * 5000),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "UTF-16 without a mark": WHOLE.decode().encode("utf-16-le"),
    "UTF-32": WHOLE.decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "Latin-1": WHOLE.replace(b"carol", b"car\xf6l"),
    "overlong UTF-8": WHOLE.replace(b"carol", b"car\xc0\xafl"),
    "a surrogate as UTF-8": WHOLE.replace(b"carol", b"\xed\xa0\x80"),
    "a lone surrogate": WHOLE.replace(b"carol", b"\\ud800"),
    "a raw control character": WHOLE.replace(b"carol", b"car\x00l"),
    "a subject twice": WHOLE[:-1] + b',"subject":{"type":"user","id":"carol"}}',
    "an id twice": WHOLE.replace(b'"id": "carol"', b'"id":"mallory","id":"carol"'),
    "a name twice, spelt otherwise": WHOLE.replace(b'"id": "carol"', b'"id":"mallory","\\u0069d":"carol"'),
    "a property twice": context(b'{"x":1,"x":2}'),
    "too deep": context(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
    "too deep, in objects": context(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH),
    "20,000 deep": context(b"[" * 20_000 + b"]" * 20_000),
    "20,000 deep and open": b"[" * 20_000,
    "a form": b"subject=carol&action=read",
    "XML": b"<request/>",
}


@pytest.mark.parametrize("name", NOT_JSON)
async def test_what_is_not_json_of_ours_is_400_at_both_endpoints(pep: Pep, name: str) -> None:
    for path in (ONE, MANY):
        status, body, headers = await pep.post(path, NOT_JSON[name], X_Request_ID=name)
        assert (status, headers["X-Request-ID"]) == (400, name)
        assert body["error"]["status"] == 400
        assert "decision" not in body
        assert "mallory" not in json.dumps(body)


async def test_json_that_is_only_unusual_is_read(pep: Pep) -> None:
    for body in (
        b" \r\n\t" + WHOLE + b"\n",
        WHOLE.replace(b"carol", b"c\\u0061rol"),
        context(b'"\\ud83d\\ude00"'),
        context(b"1.5e3"),
        context(b"-9223372036854775808"),
        context(b'"' + b"x" * 50_000 + b'"'),
        context(DEEP),
    ):
        assert (await pep.post(ONE, body))[1] == {"decision": True}


BAD_PARTS: list[object] = [None, "x", 1, True, [], [{}]]
BAD_NAMES: list[object] = [None, "", 1, True, ["x"], {"a": "x"}]
BAD_PROPERTIES: list[object] = [None, "x", 1, []]
BAD_BATCHES: list[object] = [{}, "x", 1, True, None, {"0": {}}]
BAD_OPTIONS: list[object] = [None, [], "execute_all", 1]
WRONG: dict[str, dict[str, object]] = {
    f"{part} is {value!r}": {part: value}
    for part in ("subject", "action", "resource", "context")
    for value in BAD_PARTS
} | {
    f"{part}.{name} is {value!r}": {part: {**whole, name: value}}
    for part, whole in (("subject", USER), ("action", READ), ("resource", TODO))
    for name in whole
    for value in BAD_NAMES
} | {
    f"{part}.properties is {value!r}": {part: {**whole, "properties": value}}
    for part, whole in (("subject", USER), ("action", READ), ("resource", TODO))
    for value in BAD_PROPERTIES
}  # fmt: skip


async def test_az_2_every_wrong_type_is_400_and_in_a_batch_an_item_in_error(pep: Pep) -> None:
    for name, change in WRONG.items():
        status, body, _ = await pep.post(ONE, {**ASKED, **change})
        assert (status, "decision" in body) == (400, False), name
    every = [*WRONG.values()]
    for some in (every[:60], every[60:]):
        _, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [*some, {}]})
        *broken, last = body["evaluations"]
        assert last == {"decision": True}
        assert all(one["decision"] is False and one["context"]["error"]["status"] == 400 for one in broken)


async def test_texts_have_a_length(pep: Pep) -> None:
    for part, whole, name in (("subject", USER, "id"), ("action", READ, "name"), ("resource", TODO, "type")):
        assert (await pep.post(ONE, {**ASKED, part: {**whole, name: "x" * MAX_TEXT}}))[0] == 200
        assert (await pep.post(ONE, {**ASKED, part: {**whole, name: "x" * (MAX_TEXT + 1)}}))[0] == 400


async def test_batches_of_every_size(pep: Pep) -> None:
    for number in (1, 2, MAX_ITEMS):
        status, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [{}] * number})
        assert (status, len(body["evaluations"])) == (200, number)
        assert "decision" not in body
    assert (await pep.post(MANY, {**ASKED, "evaluations": []}))[1] == {"decision": True}
    before = pep.run.service.log.size
    for number in (MAX_ITEMS + 1, 10_000):
        status, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [{}] * number})
        assert (status, str(MAX_ITEMS) in body["error"]["message"]) == (413, True)
    for evaluations in BAD_BATCHES:
        assert (await pep.post(MANY, {**ASKED, "evaluations": evaluations}))[0] == 400
    assert pep.run.service.log.size == before
    for item in (None, 1, "x", [], True, [ASKED]):
        _, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [item, {}]})
        assert [one["decision"] for one in body["evaluations"]] == [False, True]


@pytest.mark.parametrize("semantic", ["", "EXECUTE_ALL", "execute_all ", "deny_on_first_permit", None, 1, [], {}, True])
async def test_a_semantic_that_nobody_knows_is_refused_whole(pep: Pep, semantic: object) -> None:
    """Guessing which was meant could permit what was to stop at a denial."""
    body = {**ASKED, "evaluations": [{}], "options": {"evaluations_semantic": semantic}}
    assert (await pep.post(MANY, body))[0] == 400


async def test_other_options_are_ignored_and_options_are_an_object(pep: Pep) -> None:
    for options in ({}, {"evaluation_semantics": "deny_on_first_deny", "another_option": "value"}):
        _, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [{"action": {"name": "x"}}, {}], "options": options})
        assert [one["decision"] for one in body["evaluations"]] == [False, True]
    for wrong in BAD_OPTIONS:
        assert (await pep.post(MANY, {**ASKED, "evaluations": [{}], "options": wrong}))[0] == 400


async def test_az_3_errors_end_a_batch_as_denials_do(pep: Pep) -> None:
    broken, denied = {"action": 7}, {"action": {"name": "write"}}

    async def ask(semantic: str, *items: object) -> list[bool]:
        asked = {**ASKED, "evaluations": items, "options": {"evaluations_semantic": semantic}}
        _, body, _ = await pep.post(MANY, asked)
        return [one["decision"] for one in body["evaluations"]]

    assert await ask("deny_on_first_deny", {}, broken, {}) == [True, False]
    assert await ask("permit_on_first_permit", broken, denied, {}, {}) == [False, False, True]
    assert await ask("permit_on_first_permit", broken, denied) == [False, False]
    assert await ask("deny_on_first_deny", {}, {}) == [True, True]
    before = len(await pep.records())
    await ask("deny_on_first_deny", denied, {}, {})
    assert len(await pep.records()) == before + 1  # what was not evaluated is not recorded as if it were


async def test_az_4_defaults_are_replaced_whole_and_never_merged(pep: Pep) -> None:
    active = {"type": "record", "id": "r", "properties": {"status": "active"}}
    asked = {**ASKED, "resource": active, "context": {"a": 1}}
    items: list[dict[str, object]] = [
        {},
        {"resource": {"type": "record", "id": "r"}},  # has none of the default's properties
        {"resource": {"type": "record", "properties": {"status": "active"}}},  # and not its id
        {"resource": None},  # takes the default's place too
        {"context": {}, "evaluations": [{}], "options": {"evaluations_semantic": "x"}},  # an item has neither
        {"subject": {"type": "robot", "id": "carol"}},
    ]
    _, body, _ = await pep.post(MANY, {**asked, "evaluations": items})
    assert [one["decision"] for one in body["evaluations"]] == [True, False, False, False, True, False]
    requests = [json.loads(one["request"]) for one in (await pep.records())[-4:]]
    assert sorted(str(one["context"]) for one in requests) == ["{'a': 1}", "{'a': 1}", "{'a': 1}", "{}"]
    _, body, _ = await pep.post(MANY, {"evaluations": [ASKED, {"action": READ}]})  # no defaults at all
    assert [one["decision"] for one in body["evaluations"]] == [True, False]


async def test_who_may_ask_about_whom(pep: Pep) -> None:
    """The application is who calls, the subject is of its words; which types of them it may use is policy data."""
    assert await pep.decides() is True
    assert await pep.decides(subject={"type": "robot", "id": "carol"}) is False
    assert await pep.decides(resource={"type": "unlisted", "id": "1"}) is False
    pep.token = pep.run.token("planner-3", "application")  # a registered agent, given no type
    assert await pep.decides() is False
    pep.token = pep.run.token("carol", "application")  # not about herself either
    assert await pep.decides() is False
    pep.token = pep.run.token("carol", "application", actors=["executor-7"])  # the caller is carol, not her actor
    assert await pep.decides() is False
    for roles in (("executor",), ("planner", "reviewer"), ("admin",), ()):
        pep.token = pep.run.token("executor-7", *roles)
        assert (await pep.post(ONE, ASKED))[0] == 403


@pytest.mark.parametrize(
    "name",
    ["Carol", "CAROL", "carol/", "carol ", " carol", "carol\u0000", "carol\u200b", "ｃａｒｏｌ", "cаrol", "carol\n",
     "carol@idp.example", "../carol", "c1", '["https://idp.example","c1"]', "urn:twokey:dev carol", "carol\u0301"],
)  # fmt: skip
async def test_ids_that_only_look_like_anothers(pep: Pep, name: str) -> None:
    assert await pep.decides(subject={"type": "user", "id": name}) is False


@pytest.mark.parametrize(
    "name", ["Todo", "todo/", "todo ", "TODO", "ｔｏｄｏ", "todo\u0000", "todo.x", "*", "to\u0064o/../x"]
)
async def test_types_that_only_look_like_anothers(pep: Pep, name: str) -> None:
    assert await pep.decides(resource={"type": name, "id": "1"}) is False
    assert await pep.decides(subject={"type": name, "id": "carol"}) is False


async def test_actions_that_only_look_like_others(pep: Pep) -> None:
    for name in ("Read", "read/", "read ", "reаd", "*", "write", "never", "allow", "__proto__", "read\u0000"):
        assert await pep.decides(action={"name": name}) is False
    for name in ("purge", "purge"):
        assert await pep.decides(action={"name": name}) is False  # given to carol by name, and listed under never


@pytest.mark.parametrize("kind", ["sql", "kubernetes", "ssh", "tool", "connection", "rpc", "access"])
async def test_nobody_answers_for_what_a_gateway_describes(pep: Pep, kind: str) -> None:
    for name in ("read", "sql.select", "tools/call", "session.open"):
        asked = {**ASKED, "resource": {"type": kind, "id": "crm"}, "action": {"name": name}}
        _, body, _ = await pep.post(ONE, asked)
        assert body["decision"] is False
        assert {"AUTHZEN-KIND", "AUTHZEN-CALLER"} & set(body["context"]["rules"])


async def test_nothing_of_a_request_stands_for_what_is_known(pep: Pep) -> None:
    """Time, actors, roles, groups, closures, approvals, labels and an entrypoint's answer, each where main would look
    for its own: what main is asked is what the service knows."""
    forged = {
        "time": "1985-10-26T01:22:00-07:00", "time_ns": 1, "now": 1, "approval": {"present": True, "quorum": 0},
        "sessions": [{"role": "executor"}], "scopes": ["twokey:*:*"], "can_hold": True, "credential": {"present": True},
    }  # fmt: skip
    properties = {
        "act": {"sub": "executor-7"}, "actors": [{"name": "alice", "kind": "person"}], "roles": ["admin"],
        "groups": ["dba"], "closure": [], "kind": "person", "name": "alice", "labels": [], "label": "none",
        "classification": {}, "owner": "carol", "environment": "development", "decision": True,
    }  # fmt: skip
    asked: dict[str, Any] = {
        "subject": {**USER, "id": "mallory", "properties": properties, **properties, "iss": "https://idp.example"},
        "action": {**READ, "properties": properties, "verbs": ["sql.select"]},
        "resource": {**TODO, "properties": properties, "kind": "record", "environment": "development"},
        "context": {**forged, "access": {"entrypoint": {"present": True, "decision": True}}},
        "access": {"caller": "executor-7", "entrypoint": {"present": True, "decision": True}},
        "question": "call", "version": 9, "input": {"question": "call"},
    }  # fmt: skip
    status, body, _ = await pep.post(ONE, asked)
    assert (status, body["decision"]) == (200, False)
    seen = (await pep.records())[-1]["input"]
    assert seen["question"] == "access"
    assert seen["access"] == {
        "caller": "executor-7",
        "subject_type": "user",
        "entrypoint": {"present": False, "decision": False},
    }
    subject, resource = seen["subject"], seen["resource"]
    assert (subject["roles"], subject["groups"], subject["actors"], subject["name"]) == ([], [], [], "")
    assert (resource["kind"], resource["environment"], seen["action"]["verbs"]) == ("todo", "", [])
    assert not seen["context"]["time"].startswith("1985")
    assert (seen["context"]["approval"]["present"], seen["context"]["sessions"]) == (False, [])
    assert seen["context"]["scopes"] == []
    assert await pep.decides(**{**asked, "subject": {**asked["subject"], "id": "carol"}}) is True  # carol's own grant


async def test_an_entrypoint_permits_nothing_that_main_denies(pep: Pep) -> None:
    active = {**RECORD, "properties": {"status": "active"}}
    assert await pep.decides(resource=active) is True
    for changes in (
        {"action": {"name": "purge"}},
        {"subject": {"type": "robot", "id": "stranger"}},
        {"resource": {"type": "record/../record", "id": "r", "properties": {"status": "active"}}},
    ):
        assert await pep.decides(**{"resource": active, **changes}) is False
    last = (await pep.records())[-3]
    assert last["input"]["access"]["entrypoint"] == {"present": True, "decision": True}  # and the record has both
    assert "AUTHZEN-NEVER" in json.dumps(last["reasons"])


async def test_an_entrypoint_that_answers_no_boolean_permits_nothing(pep: Pep) -> None:
    broken = {"resource": {"type": "broken", "id": "x"}}
    status, body, _ = await pep.post(ONE, {**ASKED, **broken})
    assert (status, "decision" in body) == (503, False)
    _, body, _ = await pep.post(MANY, {**ASKED, "evaluations": [broken, {}]})
    first, second = body["evaluations"]
    assert (first["decision"], first["context"]["error"]["status"], second["decision"]) == (False, 503, True)
    status, text, _ = await pep.post(ONE, {**ASKED, **broken})
    assert (status, "records.broken" in json.dumps(text)) == (503, False)
    assert "records.broken" not in json.dumps(body)  # how the policy is made is not the application's to know
    failed = [one for one in (await pep.records())[-3:-1] if not one["decision"]]
    assert [one["code"] for one in failed] == ["POLICY_INVALID"]


async def test_items_that_their_batch_gave_up_are_recorded(pep: Pep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were asked and those that never began: each has its record."""
    monkeypatch.setattr(http, "BATCH_S", 0.0)
    before = len(await pep.records())
    for semantic, answers in (("execute_all", 12), ("permit_on_first_permit", 12), ("deny_on_first_deny", 1)):
        asked = {**ASKED, "evaluations": [{}] * 12, "options": {"evaluations_semantic": semantic}}
        status, body, _ = await pep.post(MANY, asked)
        assert (status, len(body["evaluations"])) == (200, answers)
        assert all(one["decision"] is False for one in body["evaluations"])
        assert {one["context"]["error"]["status"] for one in body["evaluations"]} == {503}
    late = (await pep.records())[before:]
    assert len(late) == 25
    assert {(one["decision"], one["code"], one["outcome"]) for one in late} == {(False, "DECISION_UNAVAILABLE", "deny")}


async def test_many_questions_at_once_are_each_answered(pep: Pep) -> None:
    denied: dict[str, Any] = {"action": {"name": "write"}}
    asked = [pep.decides(**(denied if number % 3 == 0 else {})) for number in range(60)]
    assert await asyncio.gather(*asked) == [number % 3 != 0 for number in range(60)]


async def test_nothing_of_a_request_is_written_into_the_programs_own_log(
    pep: Pep, capfd: pytest.CaptureFixture[str]
) -> None:
    for body in ({**ASKED, "context": {"password": "canary-5b1"}}, b'{"canary-5b1', {**ASKED, "action": "canary-5b1"}):
        await pep.post(ONE, body, X_Request_ID="canary-5b1")
    shown = capfd.readouterr()
    assert "canary-5b1" not in shown.out + shown.err
    assert pep.token not in shown.out + shown.err
