"""The shapes of the working group's interop scenarios (todo application, API gateways, records), with users and rules
of our own: what their applications send is taken as it is, and answered as they read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.decision.authzen.support import MANY, ONE, Pep, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
POLICY = """callers: {executor-7: {types: [todo, user, route, book], subjects: [user, identity]}}
types:
  todo: {entrypoint: interop}
  user: {entrypoint: interop}
  route: {entrypoint: interop}
  book: {entrypoint: interop}
"""
INTEROP = """package interop

roles := {"u-ann": {"editor"}, "u-ben": {"viewer"}, "u-cat": {"editor", "librarian"}}

mails := {"u-ann": "ann@example.org", "u-ben": "ben@example.org"}

mine := object.get(roles, input.subject.id, set())

default decision := false

decision if {
	input.action.name in {"can_read_user", "can_read_todos"}
	count(mine) > 0
}

decision if {
	input.action.name == "can_create_todo"
	"editor" in mine
}

decision if {
	input.action.name == "can_update_todo"
	input.resource.properties.ownerID == mails[input.subject.id]
}

decision if {
	input.resource.type == "route"
	input.action.name == "GET"
	count(mine) > 0
}

decision if {
	input.resource.type == "route"
	input.action.name in {"POST", "PUT", "DELETE"}
	input.resource.id == "/todos/{todoId}"
	"editor" in mine
}

decision if {
	input.resource.type == "book"
	"librarian" in mine
	input.context.at_desk == true
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def interop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pep]:
    folder = tmp_path_factory.mktemp("interop")
    async with opened(folder, policy=POLICY, rego={"interop": INTEROP}) as found:
        yield found


def user(name: str) -> dict[str, str]:
    return {"type": "user", "id": name}


async def test_the_todo_application(interop: Pep) -> None:
    async def may(who: str, action: str, kind: str, ident: str, **properties: str) -> bool:
        resource: dict[str, Any] = {"type": kind, "id": ident}
        if properties:
            resource["properties"] = properties
        return await interop.decides(subject=user(who), action={"name": action}, resource=resource)

    assert await may("u-ben", "can_read_user", "user", "ann@example.org")
    assert await may("u-ben", "can_read_todos", "todo", "todo-1")
    assert not await may("u-ben", "can_create_todo", "todo", "todo-1")
    assert await may("u-ann", "can_create_todo", "todo", "todo-1")
    assert await may("u-ann", "can_update_todo", "todo", "t-7", ownerID="ann@example.org")
    assert not await may("u-ann", "can_update_todo", "todo", "t-7", ownerID="ben@example.org")
    assert not await may("u-zed", "can_read_todos", "todo", "todo-1")


async def test_the_todo_applications_boxcar(interop: Pep) -> None:
    todos = [
        {"type": "todo", "id": f"t-{one}", "properties": {"ownerID": f"{one}@example.org"}} for one in ("ann", "ben")
    ]
    asked = {
        "subject": user("u-ann"),
        "action": {"name": "can_update_todo"},
        "evaluations": [{"resource": one} for one in todos],
    }
    status, body, headers = await interop.post(MANY, asked, X_Request_ID="bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
    assert (status, headers.get("Content-Type", "").partition(";")[0]) == (200, "application/json")
    assert headers["X-Request-ID"] == "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"
    assert [one["decision"] for one in body["evaluations"]] == [True, False]
    assert "decision" not in body


async def test_an_api_gateway(interop: Pep) -> None:
    """The action is the method, the resource the route, with what the gateway knows of the request."""

    async def may(who: str, method: str, route: str) -> bool:
        resource = {
            "type": "route",
            "id": route,
            "properties": {"uri": f"https://todo.example{route}", "schema": "https", "hostname": "todo.example",
                           "path": route, "ip": "192.0.2.7"},
        }  # fmt: skip
        subject = {"type": "identity", "id": who}
        return await interop.decides(
            subject=subject, action={"name": method, "properties": {"method": method}}, resource=resource, context={}
        )

    assert await may("u-ben", "GET", "/todos")
    assert not await may("u-ben", "DELETE", "/todos/{todoId}")
    assert await may("u-ann", "DELETE", "/todos/{todoId}")
    assert not await may("u-ann", "DELETE", "/users/{userId}")
    assert not await may("u-zed", "GET", "/todos")


async def test_what_a_context_says_is_the_entrypoints_to_believe(interop: Pep) -> None:
    book = {"type": "book", "id": "123", "properties": {"library_record": {"title": "x", "isbn": "978-0"}}}
    asked = {"subject": user("u-cat"), "action": {"name": "lend"}, "resource": book}
    for context, expected in (({"at_desk": True}, True), ({"at_desk": "true"}, False), ({}, False)):
        status, body, _ = await interop.post(ONE, {**asked, "context": context})
        assert (status, body["decision"]) == (200, expected)


async def test_a_client_that_sends_little_and_reads_little(interop: Pep) -> None:
    """No Accept, no identifier, a body of chunks: as curl and gateways' plug-ins send them."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"subject":{"type":"user","id":"u-ben"},"action":{"name":"can_read_todos"},'
        yield b'"resource":{"type":"todo","id":"1"}}'

    headers = {"Authorization": f"bearer {interop.token}", "Content-Type": "application/json"}
    async with interop.http.post(interop.base + ONE, data=chunks(), headers=headers) as said:
        assert (said.status, await said.json()) == (200, {"decision": True})
    authorization = {"Authorization": headers["Authorization"]}
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Accept", "User-Agent"]) as bare,
        bare.post(interop.base + ONE, json={}, headers=authorization) as said,
    ):
        assert said.status == 400
