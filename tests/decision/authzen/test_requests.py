"""Access requests on a whole service, each line of the profile by its name (AR-1 to AR-11), and A33."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import rfc8785
from joserfc.jwk import KeySet
from joserfc.jwt import decode
from twokey.approval.v1 import approval_pb2

from decision.authzen import evaluating
from decision.authzen.binding import Binding
from decision.authzen.http import KEYS, METADATA, REQUESTS
from decision.authzen.requests import URN
from decision.identity.jose import segments
from decision.model import ApprovalState
from decision.store.tables import approvals
from tests.decision.authzen.support import ASKED, MANY, ONE, POLICY, Pep, opened
from tests.decision.rpc.test_auth import token

DELETE = {"name": "delete"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Client:
    """The application: denied, asking for an approval, watching it."""

    def __init__(self, pep: Pep, number: object = 1) -> None:
        self.pep = pep
        self.asked: dict[str, Any] = {**ASKED, "action": DELETE, "resource": {"type": "todo", "id": str(number)}}

    async def evaluated(self, **changes: Any) -> dict[str, Any]:
        status, body, _ = await self.pep.post(ONE, {**self.asked, **changes})
        assert status == 200, body
        return dict(body)

    async def submission(self, **changes: Any) -> dict[str, Any]:
        """As a PEP makes it of the denial."""
        context = (await self.evaluated())["context"]
        held = context["access_request"]
        denial = {
            "evaluation_id": context["evaluation_id"],
            "evaluated_at": context["evaluated_at"],
            "reason": context["reason"],
            "expires_at": held["expires_at"],
            "binding_token": held["binding_token"],
        }
        return {**self.asked, "denial": denial, **changes}

    async def submit(self, body: object = None, **headers: str) -> tuple[int, Any, Any]:
        return await self.pep.post(REQUESTS, await self.submission() if body is None else body, **headers)

    async def submitted(self) -> str:
        status, body, _ = await self.submit()
        assert status == 202, body
        return str(body["task"]["id"])

    async def call(self, method: str, path: str, *, token: str = "", **headers: str) -> tuple[int, Any, Any]:
        sent = {"Authorization": f"Bearer {token or self.pep.token}"} | headers
        async with self.pep.http.request(method, self.pep.base + path, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers

    async def task(self, ident: str, **headers: str) -> Any:
        status, body, _ = await self.call("GET", f"{REQUESTS}/{ident}", **headers)
        assert status == 200, body
        return body

    async def verdict(self, ident: str, reviewer: str = "bob", *, approve: bool = True, reason: str = "") -> Any:
        rpc = self.pep.run.approval.Approve if approve else self.pep.run.approval.Deny
        made = approval_pb2.ApproveRequest if approve else approval_pb2.DenyRequest
        metadata = self.pep.run.bearer(reviewer, "reviewer")
        return await rpc(made(id=ident, reason=reason, channel="test"), metadata=metadata, timeout=20)

    async def approved(self) -> str:
        ident = await self.submitted()
        await self.verdict(ident)
        return ident

    async def with_approval(self, approval: object, **changes: Any) -> dict[str, Any]:
        context = {**changes.pop("context", self.asked.get("context", {})), "approval": approval}
        return await self.evaluated(**{**changes, "context": context})


@pytest.fixture
def client(pep: Pep, request: pytest.FixtureRequest) -> Client:
    """Each test asks about a resource of its own."""
    return Client(pep, request.node.name)


def problem(answer: tuple[int, Any, Any], status: int, name: str) -> None:
    found, body, headers = answer
    assert (found, body["type"], body["status"]) == (status, URN + name, status), body
    assert headers["Content-Type"].startswith("application/problem+json")
    assert body["title"]


async def test_ar_1_require_approval_is_a_denial_that_can_be_asked_about(client: Client) -> None:
    """AR-1, AZ-7: still `false`; the token binds exactly what was denied (RFC 8785), and says until when."""
    client.asked |= {"context": {"ticket": 7, "time": "now"}}
    told = await client.evaluated()
    assert told["decision"] is False
    context = told["context"]
    assert (context["reason"], context["rules"]) == ("approval_required", ["AUTHZEN-APPROVAL"])
    assert context["explanation"]
    held = context["access_request"]
    keys = await client.call("GET", KEYS)
    assert keys[2]["Content-Type"].startswith("application/jwk-set+json")
    assert "d" not in keys[1]["keys"][0]
    claims = decode(held["binding_token"], KeySet.import_key_set(keys[1]), algorithms=["Ed25519"]).claims
    assert claims["binding_context_members"] == ["ticket"]  # time is never the same again
    whole = {key: client.asked[key] for key in ("subject", "resource", "action")} | {"context": {"ticket": 7}}
    digest = urlsafe_b64encode(hashlib.sha256(rfc8785.dumps(whole)).digest()).rstrip(b"=").decode()
    assert claims["binding_hash"] == digest
    assert claims["denial_expires_at"] == held["expires_at"]
    assert claims["evaluation_id"] == context["evaluation_id"]
    assert (await client.pep.records())[-1]["evaluation"] == context["evaluation_id"]
    for changes in ({"action": {"name": "read"}}, {"action": {"name": "write"}}, {"action": {"name": "purge"}}):
        assert "access_request" not in (await client.evaluated(**changes)).get("context", {})
    huge = await client.evaluated(context={"n": 2**60})  # has no canonical form, so nothing could be bound to it
    assert (huge["decision"], "access_request" in huge["context"]) == (False, False)


async def test_the_whole_way_to_an_approval(client: Client) -> None:
    """AR-5, AR-7, AR-8: pending, approved, and then it is policy that permits, once more."""
    ident = await client.submitted()
    pending = await client.task(ident)
    assert pending["task"]["status"] == "pending"
    assert pending["task"]["status_endpoint"] == f"{client.pep.base}{REQUESTS}/{ident}"
    assert "result" not in pending
    assert await client.submitted() == ident  # the same is asked for once
    watching = asyncio.ensure_future(client.task(ident, Prefer="wait=20"))
    await client.verdict(ident)
    done = await asyncio.wait_for(watching, 10)
    assert done["task"]["status"] == "approved"
    result = done["result"]
    assert result["mode"] == "reevaluate"
    until = datetime.fromisoformat(result["approval"]["approved_until"])
    assert datetime.now(UTC) < until <= datetime.now(UTC) + timedelta(hours=1)
    assert (await client.evaluated())["decision"] is False  # nothing is remembered: the approval is to be shown
    told = await client.with_approval(result["approval"])
    assert told["decision"] is True
    assert told["context"]["approval"] == {"id": ident, "approved_until": result["approval"]["approved_until"]}
    record = (await client.pep.records())[-1]
    assert (record["approval"], record["decision"]) == (ident, True)
    assert record["input"]["context"]["approval"]["verdicts"][0]["name"] == "bob"
    _, body, _ = await client.pep.post(
        MANY, {**client.asked, "context": {"approval": {"id": ident}}, "evaluations": [{}]}
    )
    assert body["evaluations"][0]["decision"] is True
    events = [one["event"] for one in await client.pep.records("approval") if one["approval"] == ident]
    assert events[0] == "requested"
    assert {"verdict", "transition"} <= set(events)


async def test_what_reviewers_see_is_the_request(client: Client) -> None:
    client.asked |= {"context": {"ticket": 7}}
    why = {"business_justification": "renewal"}
    body = await client.submission(requested_access={"emergency": True})
    _, told, _ = await client.submit({**body, "context": {**client.asked["context"], **why}})
    shown = await client.pep.run.approval.Get(
        approval_pb2.GetRequest(id=told["task"]["id"]), metadata=client.pep.run.bearer("bob", "reviewer"), timeout=20
    )
    request = json.loads(shown.operation.sql.values.statement)
    assert request["request"] == {**client.asked, "context": {"ticket": 7}}
    assert request["added"]["context"] == why
    assert [actor.name for actor in shown.requester.actors] == ["executor-7"]
    assert shown.requester.identity.name == "carol"


async def test_ar_2_a_submission_is_of_what_was_denied(client: Client) -> None:
    client.asked |= {"context": {"ticket": 7}, "subject": {**ASKED["subject"], "properties": {"level": 1}}}
    body = await client.submission()
    subject, denial = client.asked["subject"], body["denial"]
    wrong: list[dict[str, Any]] = [
        {"subject": {**subject, "id": "alice"}}, {"subject": {**subject, "properties": {"level": 2}}},
        {"subject": {"type": "user", "id": "carol"}}, {"subject": {**subject, "properties": {"level": "1"}}},
        {"resource": {"type": "todo", "id": "2"}}, {"resource": {**client.asked["resource"], "properties": {}}},
        {"action": {"name": "read"}}, {"context": {"ticket": 8}}, {"context": {}}, {"context": {"ticket": None}},
        {"denial": {}}, {"denial": None}, {"denial": "x"}, {"denial": {**denial, "binding_token": None}},
        {"denial": {"evaluation_id": denial["evaluation_id"], "expires_at": denial["expires_at"]}},
        {"denial": {**denial, "evaluation_id": "dec_other"}},
        {"denial": {**denial, "expires_at": "2099-01-01T00:00:00Z"}},
        {"denial": {**denial, "expires_at": 7}}, {"denial": {**denial, "expires_at": "soon"}},
        {"denial": {**denial, "binding_token": denial["binding_token"][:-4] + "AAAA"}},
        {"denial": {**denial, "binding_token": client.pep.token}},  # a token of another kind
    ]  # fmt: skip
    for change in wrong:
        problem(await client.submit({**body, **change}), 400, "invalid_denial_binding")
    unreadable: list[object] = [{}, {**body, "subject": "x"}, [], b"{", {**body, "client": 7}]
    for malformed in unreadable:
        assert (await client.submit(malformed))[0] == 400
    assert (await client.submit(body, Content_Type="text/plain"))[0] == 400
    more = {**body, "context": {"ticket": 7, "why": "because"}, "zz": 1}  # what is added changes nothing
    assert (await client.submit(more))[0] == 202
    acting = {**body, "subject": {**subject, "properties": {"level": 1, "act": {"sub": "alice"}}}}
    assert (await client.submit(acting))[0] == 202  # and an actor there is nobody's word


async def test_ar_2_a_denial_of_another_key_or_too_old(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "REQUESTABLE_S", -1)
        late = await client.submission()
    problem(await client.submit(late), 410, "expired_denial")
    body = await client.submission()
    _, claims = segments(body["denial"]["binding_token"])
    forger = Binding(b"another secret")
    bound = Binding(client.pep.run.service._settings.run.tls.key.get_secret_value().encode()).read(
        body["denial"]["binding_token"]
    )
    forged = forger.sign(bound, now=datetime.now(UTC))
    assert segments(forged)[1]["binding_hash"] == claims["binding_hash"]
    problem(
        await client.submit({**body, "denial": {**body["denial"], "binding_token": forged}}),
        400,
        "invalid_denial_binding",
    )


async def test_what_policy_no_longer_holds_is_not_requestable(client: Client) -> None:
    """The denial was of a record that somebody may delete with an approval; by now it is nobody's."""
    client.asked |= {"resource": {"type": "record", "id": "r", "properties": {"status": "active"}}}
    body = await client.submission()
    engine = client.pep.run.service.engine
    rule = next(client.pep.run.folder.glob("rego/records.rego"))
    text = rule.read_text()
    try:
        rule.write_text("package records.access\n\ndefault decision := false\n")
        await engine.reload()
        problem(await client.submit(body), 400, "not_requestable")
    finally:
        rule.write_text(text)
        await engine.reload()
    assert (await client.submit(body))[0] == 202


async def test_ar_3_a34_the_same_key_is_the_same_request(client: Client) -> None:
    body = await client.submission()
    first = await client.submit(body, Idempotency_Key="k-1")
    again = await client.submit(dict(reversed(body.items())), Idempotency_Key="k-1")
    assert (first[0], again[0], first[1]["task"]["id"]) == (202, 202, again[1]["task"]["id"])
    assert again[2]["Location"] == again[1]["task"]["status_endpoint"]
    other = {**body, "requested_access": {"emergency": True}}
    problem(await client.submit(other, Idempotency_Key="k-1"), 409, "duplicate_request")
    await client.verdict(first[1]["task"]["id"], approve=False)
    after = await client.submit(body, Idempotency_Key="k-1")  # still the same, though it ended
    assert (after[0], after[1]["task"]["status"]) == (202, "denied")
    failed = await client.submit({**body, "action": {"name": "read"}}, Idempotency_Key="k-2")
    problem(failed, 400, "invalid_denial_binding")
    assert (await client.submit(body, Idempotency_Key="k-2"))[0] == 202  # what failed took no key
    for key in ("x" * 300, "ü"):
        sent = client.pep.spelt(json.dumps(body).encode(), f"Idempotency-Key: {key}", path=REQUESTS)
        assert (await client.pep.raw(sent))[0][0] == 400
    many = [client.submit(body, Idempotency_Key="k-3") for _ in range(8)]
    assert len({told["task"]["id"] for _, told, _ in await asyncio.gather(*many)}) == 1


async def test_ar_3_a34_another_applications_key_is_another_key(tmp_path: Path) -> None:
    """The same key and even the same words: to each application its own task, and none learns of the other's."""
    both = POLICY.replace("\ntypes:", "\n  planner-3: {types: [todo], subjects: [user]}\ntypes:").replace(
        "callers: {executor-7: {types: [todo, record, broken, sql], subjects: [user]}}",
        "callers:\n  executor-7: {types: [todo, record, broken, sql], subjects: [user]}",
    )
    async with opened(tmp_path, policy=both) as pep:
        first = await Client(pep, 1).submit(Idempotency_Key="k")
        stolen = await Client(pep, 1).submission()
        pep.token = pep.run.token("planner-3", "application")
        problem(await Client(pep, 1).submit(stolen, Idempotency_Key="k"), 400, "invalid_denial_binding")
        second = await Client(pep, 1).submit(Idempotency_Key="k")
        assert (first[0], second[0]) == (202, 202)
        assert first[1]["task"]["id"] != second[1]["task"]["id"]
        third = await Client(pep, 2).submit(Idempotency_Key="k2")
        assert third[0] == 202


async def test_ar_4_a_task_is_its_applications_alone(client: Client) -> None:
    ident = await client.approved()
    path = f"{REQUESTS}/{ident}"
    run = client.pep.run
    for method, where in (("GET", path), ("POST", path + "/cancel"), ("DELETE", path + "/cancel")):
        for held, status in (
            ("x", 401),
            (run.token("executor-7", "executor"), 403),
            (token(run, "executor-7", "application", scope="twokey:crm:execute"), 403),
        ):
            found, body, _ = await client.call(method, where, token=held)
            assert (found, ident in json.dumps(body)) == (status, False)
        for who, actors in (("planner-3", ()), ("carol", ()), ("alice", ()), ("executor-7", ("planner-3",))):
            answer = await client.call(method, where, token=run.token(who, "application", actors=list(actors)))
            problem(answer, 404, "unknown_task")
    for unknown in ("x", "apr_" + "a" * 26, ident[:-1], ident.upper(), f"{ident}%20", "..%2f" + ident, "%00"):
        problem(await client.call("GET", f"{REQUESTS}/{unknown}"), 404, "unknown_task")
    assert client.pep.token not in json.dumps(await client.task(ident))


async def test_ar_5_a_task_ends_once(client: Client) -> None:
    ident = await client.submitted()
    status, body, _ = await client.call("POST", f"{REQUESTS}/{ident}/cancel")
    assert (status, body["task"]["status"]) == (200, "cancelled")
    for method in ("POST", "DELETE"):
        problem(await client.call(method, f"{REQUESTS}/{ident}/cancel"), 409, "invalid_task_state")
    with pytest.raises(grpc.aio.AioRpcError):
        await client.verdict(ident)
    assert (await client.task(ident))["task"]["status"] == "cancelled"
    again = await client.submitted()  # a new one
    assert again != ident
    await client.verdict(again, approve=False, reason="not on a Friday")
    denied = await client.task(again)
    assert denied["task"]["status"] == "denied"
    assert "not on a Friday" in denied["task"]["display"]["description"]
    assert "result" not in denied
    third = await client.approved()
    problem(await client.call("DELETE", f"{REQUESTS}/{third}/cancel"), 409, "invalid_task_state")
    assert (await client.task(third))["task"]["status"] == "approved"


async def test_ar_6_who_may_not_approve(client: Client) -> None:
    """Whoever asks, the application's owner, the application, another agent: none of them counts."""
    ident = await client.submitted()
    for reviewer in ("carol", "alice", "executor-7", "planner-3"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.verdict(ident, reviewer)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED, reviewer
    assert (await client.task(ident))["task"]["status"] == "pending"


async def test_ar_8_a33_an_approval_counts_for_exactly_what_was_approved(client: Client) -> None:
    client.asked |= {"context": {"ticket": 7}}
    ident = await client.approved()
    good = {"id": ident}
    assert (await client.with_approval(good))["decision"] is True
    later = await client.with_approval(good, context={"ticket": 7, "time": "later", "reason": "x"})
    assert later["decision"] is True  # what isn't authorization-relevant may change
    changes: list[dict[str, Any]] = [
        {"resource": {"type": "todo", "id": "other"}},
        {"resource": {**client.asked["resource"], "properties": {"x": 1}}},
        {"context": {"ticket": 8}},
        {"context": {}},
        {"subject": {"type": "user", "id": "carol", "properties": {"x": 1}}},
    ]
    for change in changes:
        told = await client.with_approval(good, **change)
        assert (told["decision"], told["context"]["reason"]) == (False, "out_of_scope"), change
        assert (told["context"]["next_action"], "access_request" in told["context"]) == ("request", True)
    purge = await client.with_approval(good, action={"name": "purge"})  # held and denied are two things
    assert (purge["decision"], "access_request" in purge["context"]) == (False, False)
    pending = await Client(client.pep, "another").submitted()
    forged: list[object] = [
        {"id": pending}, {"id": "apr_" + "a" * 26}, {"id": ident.upper()}, {"id": ident + "x"}, {"id": 7}, {}, None,
        True, ident, [ident], {"id": ident, "state": "x.y.z"}, {"id": ident, "state": None},
        {"approved_until": "2099-01-01T00:00:00Z"},
        {"present": True, "verdicts": [{"approve": True}], "quorum": 0},
    ]  # fmt: skip
    for given in forged:
        asked = client if given != {"id": pending} else Client(client.pep, "another")
        told = await asked.with_approval(given)
        assert (told["decision"], told["context"]["reason"]) == (False, "approval_unverifiable"), given
        assert (told["context"]["next_action"], "access_request" in told["context"]) == ("none", False)
    run = client.pep.run
    client.pep.token = run.token("executor-7", "application", actors=["planner-3"])
    told = await client.with_approval(good)  # another chain: denied as another caller, and no approval of theirs
    assert told["decision"] is False


async def test_ar_8_a_withdrawn_approval_and_a_reviewer_taken_out(client: Client) -> None:
    ident = await client.approved()
    run = client.pep.run
    people = run.folder / "people.yaml"
    text = people.read_text()
    try:
        people.write_text(text.replace("sub: b1}], groups: [dba]", "sub: b1}], groups: []"))
        await run.service.engine.reload()
        told = await client.with_approval({"id": ident})
        assert (told["decision"], told["context"]["reason"]) == (False, "approval_expired")
    finally:
        people.write_text(text)
        await run.service.engine.reload()
    assert (await client.with_approval({"id": ident}))["decision"] is True
    await run.service.approvals.withdraw(None, ident, reason="revoked")
    told = await client.with_approval({"id": ident})
    assert (told["decision"], told["context"]["reason"], told["context"]["next_action"]) == (
        False, "approval_expired", "request",
    )  # fmt: skip
    assert told["context"]["access_request"]["binding_token"]


async def test_ar_7_what_was_approved_ends(client: Client) -> None:
    ident = await client.approved()
    store: Any = client.pep.run.service.store.approvals
    await store._database.write(lambda connection, now: _expire(connection, ident))
    told = await client.with_approval({"id": ident})
    assert (told["decision"], told["context"]["reason"]) == (False, "approval_expired")
    problem(await client.call("GET", f"{REQUESTS}/{ident}"), 410, "task_expired")
    await client.pep.run.service.approvals.sweep()
    assert (await store.get(ident)).state is ApprovalState.LAPSED
    problem(await client.call("GET", f"{REQUESTS}/{ident}"), 410, "task_expired")
    never = await client.submitted()
    await store._database.write(lambda connection, now: _expire(connection, never))
    await client.pep.run.service.approvals.sweep()
    assert (await client.task(never))["task"]["status"] == "expired"


async def _expire(connection: Any, ident: str) -> None:
    await connection.execute(approvals.update().where(approvals.c.id == ident).values(expires=1))


async def test_ar_9_a_claimed_actor_is_proved_or_refused(client: Client) -> None:
    body = await client.submission()
    claimed: list[object] = [
        {"id": "planner-3", "issuer": "urn:twokey:dev"}, {"id": "executor-7"}, {}, "x", 7, [],
        {"id": "executor-7", "issuer": "urn:twokey:dev", "act": {"sub": "alice", "iss": "urn:twokey:dev"}},
    ]  # fmt: skip
    for actor in claimed:
        status, told, _ = await client.submit({**body, "client": {"actor": actor}})
        assert (status, "client.actor" in json.dumps(told)) == (400, True), actor
    assert (await client.submit({**body, "client": {"id": "todo-app", "source": {"session_id": "s"}}}))[0] == 202


async def test_ar_10_a35_no_callback_is_ever_called(client: Client) -> None:
    body = await client.submission()
    for endpoint in (
        "http://169.254.169.254/",
        "https://localhost/x",
        "https://[::ffff:127.0.0.1]/",
        "https://pep.example",
    ):
        status, told, _ = await client.submit({**body, "callback": {"endpoint": endpoint}})
        assert (status, "callback" in json.dumps(told)) == (400, True)
    assert (await client.submit({**body, "items": []}))[0] == 400


async def test_ar_11_nothing_of_reviewers_goes_to_who_asked(client: Client) -> None:
    ident = await client.submitted()
    await client.verdict(ident, reason="looks right")
    told = json.dumps(await client.task(ident))
    for word in ("bob", "looks right", "review", "verdict", "carol"):
        assert word not in told
    assert "links" not in json.loads(told)["task"]


async def test_the_metadata_names_the_endpoint_and_it_takes_its_methods_alone(client: Client) -> None:
    async with client.pep.http.get(client.pep.base + METADATA) as answer:
        found = await answer.json()
    assert found["access_request_endpoint"] == client.pep.base + REQUESTS
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        async with client.pep.http.request(method, client.pep.base + REQUESTS, headers={"X-Request-ID": "i"}) as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (405, "i")
    async with client.pep.http.post(client.pep.base + REQUESTS, json={}) as answer:
        assert answer.status == 401
        assert len(answer.headers.getall("WWW-Authenticate")) == 2
    status, _, headers = await client.submit({}, X_Request_ID="j")
    assert (status, headers["X-Request-ID"], headers["Cache-Control"]) == (400, "j", "no-store")


async def test_obligations_come_with_a_permission(client: Client) -> None:
    """OB-1, OB-4, from policy data through OPA to the wire."""
    told = await client.evaluated(action={"name": "keep"})
    assert told["decision"] is True
    found = told["context"]["obligations"]
    assert {one["type"] for one in found} == {"custom"}
    assert len({one["id"] for one in found}) == len(found) == 2
    assert {one["properties"]["name"]: one["properties"]["parameters"] for one in found} == {
        "require-reason": {},
        "max-rows": {"rows": 5},
    }
    stranger = {"type": "user", "id": "nobody"}
    assert "obligations" not in (await client.evaluated(action={"name": "keep"}, subject=stranger))["context"]


async def test_a_closures_flood_is_429_and_what_is_there_is_found(tmp_path: Path) -> None:
    """`requests` of approvals.yaml: the application and all its users' requests through it count together."""
    limits = "default: {groups: [dba], quorum: 1, expires_s: 3600}\nrules: {}\nrequests: {live: 2}\n"
    async with opened(tmp_path, data={"approvals": limits}) as pep:
        first = await Client(pep, 1).submitted()
        await Client(pep, 2).submitted()
        status, body, headers = await Client(pep, 3).submit()
        assert (status, "APPROVAL-FLOOD" in json.dumps(body), headers["Retry-After"]) == (429, True, "60")
        assert await Client(pep, 1).submitted() == first
        await Client(pep, 1).call("POST", f"{REQUESTS}/{first}/cancel")
        await Client(pep, 3).submitted()
