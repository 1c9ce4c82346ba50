"""The engine over the real OPA: answers, faults, recovery, reloads."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from decision.errors import PolicyError, PolicyLoadError, PolicyUnavailableError
from decision.model import IdentityKey, Outcome
from decision.policy.engine import Engine
from tests.decision.policy.support import ALLOW, Events, local, start, write_policy


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


async def test_close_right_after_a_swap_ends_both_processes(tmp_path: Path) -> None:
    engine = await start(tmp_path)
    pids = [local(engine).pid]
    write_policy(tmp_path, "tiny.changed")
    await engine.reload()
    pids.append(local(engine).pid)
    await engine.close()
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


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
