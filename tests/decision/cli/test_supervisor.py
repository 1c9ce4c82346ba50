"""`twokey up` on real parts: what it says, keeps, restarts and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decision.cli import runfile
from decision.cli.demo.stack import CONFIG, Stack
from decision.cli.errors import CliError
from tests.e2e.processes import as_root

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    with Stack() as started:
        yield started


@pytest.fixture
def stack(running: Stack) -> Stack:
    """The module's, up: a test that failed may have left it stopped."""
    try:
        os.kill(running.pid, 0)
    except CliError:
        running.start_twokey()
    return running


def tree(pid: int) -> dict[int, str]:
    """pid -> command line of every descendant, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: dict[int, str] = {}
    for child in parents:
        ancestor = child
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid and child != pid:
            found[child] = _command_line(child)
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def child(stack: Stack, module: str) -> int:
    return next(pid for pid, line in tree(stack.pid).items() if f"-m {module} " in line)


def until(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Polls processes and sockets of others: nothing tells us when they change."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def gone(pids: list[int]) -> bool:
    return not any(_running(pid) for pid in pids)


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def works(stack: Stack) -> bool:
    try:
        return stack.psql("planner", "SELECT count(*) FROM customers").stdout.strip() == "500"
    except CliError:  # the dev issuer is away as long as the decision service is
        return False


def test_the_ready_line_names_every_address(stack: Stack) -> None:
    assert set(stack.ready) == {"ready", "decision", "http", "postgres"}
    assert stack.ready["ready"] is True
    assert works(stack)


def test_the_run_file_holds_no_secret_and_is_its_owner_s(stack: Stack) -> None:
    path = stack.folder / "state" / "run.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "PRIVATE" not in path.read_text()
    assert runfile.read(path).decision == stack.ready["decision"]


def test_no_secret_is_in_any_command_line_or_environment(stack: Stack) -> None:
    """Nor of `twokey up` itself, which was started with them: it began anew without them, as the same process."""
    passwords = [stack.up_environment()[f"COMPANY_{kind}_PASSWORD"].encode() for kind in ("RO", "RW")]
    assert works(stack)
    pids = [stack.pid, *tree(stack.pid)]
    assert len(pids) >= 4
    for pid in pids:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        environ = as_root("cat", f"/proc/{pid}/environ").encode()
        assert not any(password in line + environ for password in passwords), line
        assert b"COMPANY_" not in environ, line


def test_no_process_of_ours_dumps_core(stack: Stack) -> None:
    for pid in [stack.pid, *tree(stack.pid)]:
        limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in line)
        assert limit.split()[4:6] == ["0", "0"], Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nothing_secret_is_on_disk(stack: Stack) -> None:
    works(stack)
    passwords = [stack.up_environment()[f"COMPANY_{kind}_PASSWORD"].encode() for kind in ("RO", "RW")]
    token = stack.token("planner-3", "planner").encode()
    for path in [stack.log, *(stack.folder / "state").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert b"PRIVATE KEY" not in data, path
            assert not any(secret in data for secret in [*passwords, token]), path


def test_a_killed_decision_service_comes_back_on_its_address(stack: Stack) -> None:
    before = stack.ready["decision"]
    old = child(stack, "decision")
    os.kill(old, signal.SIGKILL)
    until(lambda: any("-m decision " in line and pid != old for pid, line in tree(stack.pid).items()))
    until(lambda: works(stack))
    assert runfile.read(stack.folder / "state" / "run.json").decision == before


def test_a_killed_gateway_comes_back_on_its_address(stack: Stack) -> None:
    old = child(stack, "enforcers")
    os.kill(old, signal.SIGKILL)
    until(lambda: any("-m enforcers " in line and pid != old for pid, line in tree(stack.pid).items()))
    until(lambda: works(stack))


def test_a_second_one_on_the_same_state_is_refused(stack: Stack) -> None:
    done = subprocess.run(
        [*stack.command(), "up", "-c", str(stack.config), "--dev"],
        capture_output=True,
        text=True,
        env=stack.up_environment(),
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "another twokey runs" in done.stderr
    assert works(stack)


def test_sighup_reloads_and_leaves_everything_up(stack: Stack) -> None:
    gateway = child(stack, "enforcers")
    os.kill(stack.pid, signal.SIGHUP)
    until(lambda: "reload forwarded" in stack.log.read_text())
    assert gateway == child(stack, "enforcers")
    assert works(stack)


def test_doctor_finds_nothing_wrong(stack: Stack) -> None:
    done = subprocess.run(
        [*stack.command(), "doctor", "-c", str(stack.config), "--json"],
        capture_output=True,
        text=True,
        env=stack.up_environment(),
        timeout=60,
        check=False,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout
    assert any("can only read" in finding["message"] for finding in findings)
    assert not [finding for finding in findings if finding["level"] == "problem"]


def test_doctor_warns_of_a_planner_who_can_write(stack: Stack) -> None:
    stack.database.run("GRANT UPDATE (status) ON orders TO company_ro", database="company")
    try:
        done = subprocess.run(
            [*stack.command(), "doctor", "-c", str(stack.config)],
            capture_output=True,
            text=True,
            env=stack.up_environment(),
            timeout=60,
            check=False,
        )
        assert "can write: it may write public.orders" in done.stdout
    finally:
        stack.database.run("REVOKE UPDATE (status) ON orders FROM company_ro", database="company")


def test_sigterm_drains_and_leaves_nothing_behind(stack: Stack) -> None:
    children = list(tree(stack.pid))
    assert len(children) >= 3  # decision, OPA, enforcer
    assert stack.stop_twokey() == 0
    assert gone(children)
    assert not (stack.folder / "state" / "run.json").exists()
    stack.start_twokey()
    assert works(stack)


def test_standard_output_is_exactly_one_line(stack: Stack) -> None:
    stack.stop_twokey()
    process = subprocess.Popen(
        [*stack.command(), "up", "-c", str(stack.config), "--dev"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=stack.up_environment(),
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    children = list(tree(process.pid))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # the second one: at once
    rest = process.stdout.read()
    assert json.loads(first)["ready"] is True
    assert rest == ""
    process.wait(10)
    process.stdout.close()
    until(lambda: gone(children))
    stack.start_twokey()


def test_children_do_not_outlive_a_supervisor_that_is_killed(stack: Stack) -> None:
    stack.stop_twokey()
    stack.start_twokey()
    children = list(tree(stack.pid))
    stack.stop_twokey(number=signal.SIGKILL)
    until(lambda: gone(children), seconds=60)
    stack.start_twokey()
    assert works(stack)


def test_what_can_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    rego = tmp_path / "rego" / "main"
    rego.mkdir(parents=True)
    (rego / "main.rego").write_text("package twokey.main\n\nthis is no policy\n")
    broken = Stack(config=CONFIG + f"policy: {{{{rego: {tmp_path / 'rego'}}}}}\n")
    try:
        with pytest.raises(CliError, match="did not get ready") as caught:
            broken.start()
        assert "did not start" in str(caught.value)
        assert not (broken.folder / "state" / "run.json").exists()
    finally:
        broken.stop()


def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "twokey.yaml").write_text("people: people.yaml\nconections: []\n")
    done = subprocess.run(
        [*Stack.command(), "up", "-c", str(tmp_path / "twokey.yaml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=Stack.base_environment(),
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert "twokey.yaml:2: conections: unknown key; did you mean 'connections'?" in done.stderr
    assert not (tmp_path / "state").exists()


def test_the_halves_run_apart_with_a_secret_of_their_own(tmp_path: Path) -> None:
    apart = Stack()
    secret = tmp_path / "secret"
    secret.write_text("x" * 40)
    secret.chmod(0o600)

    def serve(*arguments: str) -> subprocess.Popen[str]:
        command = [*apart.command(), "serve", *arguments, "-c", str(apart.config)]
        environ = apart.up_environment()
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ, text=True)

    halves: list[subprocess.Popen[str]] = []
    try:
        apart.start_database()
        halves.append(serve("decision", "--dev", "--enforcer-secret", str(secret)))
        assert halves[0].stdout is not None
        assert set(json.loads(halves[0].stdout.readline())) == {"ready", "decision", "http"}
        halves.append(serve("postgres", "--enforcer-secret", str(secret)))
        assert halves[1].stdout is not None
        apart.ready = json.loads(halves[1].stdout.readline())
        assert works(apart)
    finally:
        for process in reversed(halves):
            process.terminate()
            process.communicate(timeout=60)
        apart.stop()
    assert [process.returncode for process in halves] == [0, 0]
