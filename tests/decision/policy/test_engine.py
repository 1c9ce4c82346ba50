"""The engine over the real OPA: answers, faults, recovery, reloads."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import uvloop

from decision.errors import PolicyError, PolicyLoadError, PolicyUnavailableError
from decision.model import IdentityKey, Outcome
from decision.policy.engine import Engine, start_engine
from decision.policy.opa_process import OpaSettings
from tests.decision.policy.support import ROOT, Events, local, make_sources, opa_path, start, write_policy

ALLOW = {"version": 1, "question": "allow"}


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def engine(tmp_path: Path, events: Events) -> AsyncIterator[Engine]:
    engine = await start(tmp_path, events)
    yield engine
    await engine.close()


async def test_answers_with_the_revision_in_force(engine: Engine) -> None:
    result = await engine.evaluate(ALLOW)
    assert result.outcome is Outcome.ALLOW
    assert result.reasons[0].rule == "tiny.allow"
    assert result.revision == engine.revision
    assert len(engine.revision) == 64
    assert (await engine.evaluate({"question": "other"})).outcome is Outcome.DENY


async def test_people_reach_rego_and_python_alike(engine: Engine) -> None:
    assert (await engine.evaluate({"question": "people"})).reasons[0].rule == "alice"
    assert engine.people.party(IdentityKey("https://idp.example", "a1")).name == "alice"


async def test_an_error_in_a_builtin_under_not_is_no_allow(engine: Engine) -> None:
    with pytest.raises(PolicyError, match="HTTP 500") as caught:
        await engine.evaluate({"question": "builtin", "bad": "topsecretvalue"})
    assert "topsecretvalue" not in str(caught.value)


async def test_a_result_of_another_shape_is_refused(engine: Engine) -> None:
    with pytest.raises(PolicyError):
        await engine.evaluate({"question": "nonsense"})


async def test_a_question_that_is_not_json_is_refused(engine: Engine) -> None:
    with pytest.raises(PolicyError):
        await engine.evaluate({"question": object()})
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW


async def test_killed_opa_is_unavailable_then_back(engine: Engine, events: Events) -> None:
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await events.until(lambda names: "opa-exited" in names)
    assert not engine.ready
    began = time.monotonic()
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate(ALLOW)
    assert time.monotonic() - began < 0.1
    await events.until(lambda names: names.count("opa-started") == 2)
    assert engine.ready
    assert local(engine).pid != pid
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW


async def test_hung_opa_is_unavailable_within_the_deadline_then_replaced(engine: Engine, events: Events) -> None:
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate(ALLOW)
    assert time.monotonic() - began < 1.2
    await events.until(lambda names: "opa-hung" in names and names.count("opa-started") == 2)
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_crashing_opa_is_restarted_with_growing_pauses(engine: Engine, events: Events) -> None:
    for round_ in range(2, 5):
        pid = local(engine).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await events.until(lambda names, round_=round_: names.count("opa-started") == round_)
    assert (await engine.evaluate(ALLOW)).outcome is Outcome.ALLOW


async def test_the_gate_refuses_everything_else_even_with_the_token(engine: Engine) -> None:
    opa = local(engine)
    assert opa._running is not None
    client = opa._running.client
    base = client.root_url
    question = f"{base}/data/twokey/main/decision"
    session = client._session
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
        ("GET", base.removesuffix("/v1") + "/metrics", b""),
        ("GET", f"{base}/config", b""),
        ("POST", base.removesuffix("v1") + "v0/data/twokey/main/decision", b"{}"),
        ("POST", base.removesuffix("v1"), b"{}"),
    ]
    for method, url, body in refused:
        async with session.request(method, url, data=body) as response:
            assert response.status == 401, (method, url)
    async with session.post(f"{question}?strict-builtin-errors=true", data=b'{"input": {"question": "allow"}}') as ok:
        assert ok.status == 200
    async with session.get(base.removesuffix("/v1") + "/health") as ok:
        assert ok.status == 200


async def test_without_the_token_nothing_answers(engine: Engine) -> None:
    opa = local(engine)
    assert opa._running is not None
    client = opa._running.client
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client._tls)) as session:
            url = f"{client.root_url}/data/twokey/main/decision?strict-builtin-errors=true"
            async with session.post(url, data=b"{}", headers=headers) as response:
                assert response.status == 401
            async with session.get(client.root_url.removesuffix("/v1") + "/health", headers=headers) as response:
                assert response.status == 401


async def test_an_impostor_on_the_port_is_not_believed(tmp_path: Path, engine: Engine) -> None:
    """Another OPA, with another certificate, in place of ours."""
    (tmp_path / "other").mkdir()
    other = await start(tmp_path / "other")
    try:
        ours, theirs = local(engine)._running, local(other)._running
        assert ours is not None
        assert theirs is not None
        ours.client._question_url = theirs.client._question_url
        with pytest.raises(PolicyUnavailableError):
            await engine.evaluate(ALLOW)
    finally:
        await other.close()


async def test_opa_has_no_secret_in_environment_arguments_or_files(engine: Engine) -> None:
    opa = local(engine)
    process = Path(f"/proc/{opa.pid}")
    assert (process / "environ").read_bytes() == b""
    assert opa._token.encode() not in (process / "cmdline").read_bytes()
    assert os.readlink(process / "cwd").endswith(" (deleted)")
    assert opa._token not in repr(opa)


async def test_a_policy_that_does_not_compile_is_refused_and_the_old_one_stays(
    tmp_path: Path, engine: Engine, events: Events
) -> None:
    revision, pid = engine.revision, local(engine).pid
    (tmp_path / "rego" / "bad.rego").write_text("package twokey.bad\n\nallow if {\n\tinput.x ==\n}\n")
    with pytest.raises(PolicyLoadError, match=r"rego/bad\.rego:"):
        await engine.reload()
    assert events.count("policy-refused") == 1
    assert (engine.revision, local(engine).pid) == (revision, pid)
    assert (await engine.evaluate(ALLOW)).revision == revision


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


@pytest.mark.parametrize("decision", ["", 'decision := "x"\n', 'decision := {"outcome": "allow"}\n'])
async def test_a_policy_that_answers_nothing_usable_is_refused(tmp_path: Path, engine: Engine, decision: str) -> None:
    revision = engine.revision
    (tmp_path / "rego" / "main.rego").write_text(f"package twokey.main\n\nx := 1\n\n{decision}")
    with pytest.raises(PolicyLoadError, match="does not answer"):
        await engine.reload()
    assert (await engine.evaluate(ALLOW)).revision == revision


async def test_reload_swaps_everything_together_and_tells(tmp_path: Path, engine: Engine) -> None:
    told: list[str] = []
    engine.on_change(told.append)
    old_revision, old_pid = engine.revision, local(engine).pid
    write_policy(tmp_path, "tiny.changed")
    (tmp_path / "people.yaml").write_text("principals:\n  - {name: bob, identities: [{iss: i, sub: b}]}\n")
    revision = await engine.reload()
    assert told == [revision] == [engine.revision]
    assert revision != old_revision
    assert (await engine.evaluate(ALLOW)).reasons[0].rule == "tiny.changed"
    assert engine.people.by_name("alice") is None
    assert engine.people.by_name("bob") is not None
    assert local(engine).pid != old_pid


async def test_questions_in_flight_finish_on_their_own_policy(tmp_path: Path, engine: Engine) -> None:
    old = engine.revision
    write_policy(tmp_path, "tiny.changed")

    async def ask() -> tuple[str, str]:
        result = await engine.evaluate(ALLOW)
        return result.revision, result.reasons[0].rule

    async with asyncio.TaskGroup() as group:
        reload = group.create_task(engine.reload())
        asked = []
        while not reload.done():
            asked.append(group.create_task(ask()))
            await asyncio.sleep(0.002)
    answers = {task.result() for task in asked}
    assert answers <= {(old, "tiny.allow"), (engine.revision, "tiny.changed")}
    assert (old, "tiny.allow") in answers


async def test_reload_of_the_same_keeps_the_process(engine: Engine) -> None:
    pid = local(engine).pid
    assert await engine.reload() == engine.revision
    assert local(engine).pid == pid


async def test_a_bad_people_file_names_the_line_and_the_old_one_stays(tmp_path: Path, engine: Engine) -> None:
    revision = engine.revision
    (tmp_path / "people.yaml").write_text("principals:\n  - {name: bob, identities: [{iss: i}]}\n")
    with pytest.raises(PolicyLoadError, match=r"people\.yaml:2: principals\[0\]\.identities\[0\]: sub is missing; add"):
        await engine.reload()
    assert engine.revision == revision
    assert engine.people.by_name("alice") is not None


async def watcher_begun(folder: Path, events: Events) -> None:
    """Change a policy until a change is seen: the watcher begins in a thread of its own."""
    count = events.count("policy-loaded")
    for turn in range(50):
        write_policy(folder, f"tiny.turn{turn}")
        try:
            async with asyncio.timeout(1):
                await events.until(lambda names: names.count("policy-loaded") > count)
        except TimeoutError:
            continue
        return
    pytest.fail("no change was seen")


async def test_file_changes_reload_by_themselves(tmp_path: Path, events: Events) -> None:
    engine = await start(tmp_path, events, watch=True)
    try:
        first = engine.revision
        await watcher_begun(tmp_path, events)
        assert engine.revision != first
        changed = events.count("policy-loaded")
        replacement = tmp_path / "new-people"
        replacement.write_text("principals:\n  - {name: bob, identities: [{iss: i, sub: b}]}\n")
        replacement.rename(tmp_path / "people.yaml")
        await events.until(
            lambda names: names.count("policy-loaded") > changed and engine.people.by_name("bob") is not None
        )
        (tmp_path / "people.yaml").write_text("principals: {")
        await events.until(lambda names: "policy-refused" in names)
        assert engine.people.by_name("bob") is not None
    finally:
        await engine.close()


async def test_a_full_disk_leaves_the_old_policy_and_passes(
    tmp_path: Path, engine: Engine, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    write_policy(tmp_path, "tiny.changed")
    with pytest.raises(PolicyLoadError, match="can't be staged"):
        await engine.reload()
    assert (await engine.evaluate(ALLOW)).reasons[0].rule == "tiny.allow"
    pid = local(engine).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await events.until(lambda names: names.count("opa-start-failed") >= 2)
    monkeypatch.setattr(tempfile, "tempdir", None)
    await events.until(lambda names: names.count("opa-started") == 2)
    assert (await engine.evaluate(ALLOW)).reasons[0].rule == "tiny.allow"


async def test_ten_mebibytes_are_answered_in_time(engine: Engine) -> None:
    question = {"question": "allow", "values": {"present": True, "statement": "x" * (10 * 1024 * 1024)}}
    assert (await engine.evaluate(question)).outcome is Outcome.ALLOW


async def test_on_uvloop(tmp_path: Path) -> None:
    """The loop that the service runs on starts processes in its own way."""

    def run() -> Outcome:
        async def ask() -> Outcome:
            engine = await start(tmp_path)
            try:
                return (await engine.evaluate(ALLOW)).outcome
            finally:
                await engine.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(ask())

    assert await asyncio.to_thread(run) is Outcome.ALLOW


async def test_close_ends_opa_and_refuses_questions(tmp_path: Path) -> None:
    engine = await start(tmp_path)
    pid = local(engine).pid
    assert pid is not None
    await engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not engine.ready
    with pytest.raises(PolicyUnavailableError):
        await engine.evaluate(ALLOW)
    await engine.close()


@pytest.mark.parametrize("binary", ["/nonexistent/opa", "/bin/true"])
async def test_no_opa_is_said_clearly(tmp_path: Path, binary: str) -> None:
    with pytest.raises(PolicyLoadError, match=r"(?i)opa"):
        await start_engine(make_sources(tmp_path), OpaSettings(Path(binary)), watch=False)


async def test_opa_that_never_gets_ready_is_a_load_error(tmp_path: Path) -> None:
    """It passes for OPA when asked its version and to check, and ends when it should serve."""
    fake = tmp_path / "opa"
    fake.write_text('#!/bin/sh\n[ "$1" = version ] && echo "Version: 1.0"\n[ "$1" != run ]\n')
    fake.chmod(0o700)
    with pytest.raises(PolicyLoadError, match="exit code 1"):
        await start_engine(make_sources(tmp_path), OpaSettings(fake), watch=False)


async def test_opa_dies_with_its_parent(tmp_path: Path) -> None:
    make_sources(tmp_path)
    program = """
import asyncio, pathlib, sys
from tests.decision.policy.support import local, start

async def main():
    engine = await start(pathlib.Path(sys.argv[1]))
    print(local(engine).pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        lines = [await parent.stdout.readline()]
        while not lines[-1].strip().isdigit():
            lines.append(await parent.stdout.readline())
            assert lines[-1], lines
    watched = os.pidfd_open(int(lines[-1]))
    try:
        parent.kill()
        await parent.wait()
        ended, _, _ = await asyncio.to_thread(select.select, [watched], [], [], 10)
        assert ended == [watched]
    finally:
        os.close(watched)


def test_settings_document(tmp_path: Path) -> None:
    settings = OpaSettings.from_settings({"opa": {"path": str(opa_path()), "url": None, "token": "s3cret"}})
    assert settings.path == opa_path()
    assert "s3cret" not in repr(settings)
    with pytest.raises(PolicyLoadError, match=r"opa\.path"):
        OpaSettings.from_settings({"opa": {"path": None, "url": None}})
