"""Bad input and faults: a clear error, fail closed, nothing lost. What breaks a stack has one of its own."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from decision.cli.errors import CliError
from tests.e2e.background import Background
from tests.e2e.clients import admin, connect, pending, until
from tests.e2e.processes import as_root, can_be_root, processes


def answers(stack: Stack, role: str = "planner") -> bool:
    try:
        with connect(stack, role) as client:
            return client.execute("SELECT count(*) FROM orders WHERE id < 3").fetchone() == (2,)
    except (psycopg.Error, CliError):  # the latter: no token from a service that is away
        return False


def test_a_statement_of_17_mib_is_refused_and_of_10_mib_runs(stack: Stack) -> None:
    with connect(stack, "planner") as client:
        big = "SELECT length('" + "x" * (10 << 20) + "')"
        assert client.execute(big.encode(), prepare=False).fetchone() == (10 << 20,)
    with connect(stack, "planner") as client, pytest.raises(psycopg.Error) as refused:
        client.execute(("SELECT length('" + "x" * (17 << 20) + "')").encode(), prepare=False)
    assert refused.value.sqlstate == "54000" or "too large" in str(refused.value).lower(), refused.value
    assert answers(stack)


@pytest.mark.parametrize("opening", ["(", "SELECT (", "array["])
def test_deep_nesting_is_refused_and_the_gateway_lives(stack: Stack, opening: str) -> None:
    with connect(stack, "planner") as client, pytest.raises(psycopg.Error):
        client.execute(("SELECT " + opening * 100_000).encode(), prepare=False)
    with connect(stack, "planner") as client, pytest.raises(psycopg.Error):
        client.execute(("SELECT " + "(" * 100_000 + "1" + ")" * 100_000).encode(), prepare=False)
    assert answers(stack)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."])
def test_missing_and_forged_tokens_are_refused(stack: Stack, token: str) -> None:
    with pytest.raises(psycopg.OperationalError) as refused, connect(stack, "planner", token=token or "\x01"):
        pass
    assert "token" in str(refused.value)


def test_an_expired_token_is_refused_at_login_and_ends_a_session(stack: Stack) -> None:
    short = stack.token("planner-3", "planner", ttl_s=2)
    with connect(stack, "planner", token=short) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)

        def refused() -> bool:
            try:
                client.execute("SELECT 1")
            except psycopg.Error:
                return True
            return False

        until(refused, timeout_s=60, what="the end of the token")
    with pytest.raises(psycopg.OperationalError), connect(stack, "planner", token=short):
        pass


def test_a_tampered_token_is_refused(stack: Stack) -> None:
    head, body, signature = stack.token("planner-3", "planner").split(".")
    forged = ".".join((head, body, signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")))
    with pytest.raises(psycopg.OperationalError), connect(stack, "planner", token=forged):
        pass


def test_an_unknown_connection_and_a_role_not_in_the_token_are_clear_errors(stack: Stack) -> None:
    host, port = stack.address()
    with pytest.raises(psycopg.OperationalError, match="nowhere"):
        psycopg.connect(
            host=host, port=port, user="planner", password=stack.token("planner-3", "planner"), dbname="nowhere"
        )
    with pytest.raises(psycopg.OperationalError, match="role"):
        psycopg.connect(
            host=host, port=port, user="executor", password=stack.token("planner-3", "planner"), dbname=DATABASE
        )


def test_an_unreachable_target_is_named_without_its_secret() -> None:
    config = CONFIG.replace("upstream: {upstream}", "upstream: postgresql://127.0.0.1:1/company")
    with Stack(config=config) as broken:
        with pytest.raises(psycopg.OperationalError) as refused, connect(broken, "planner"):
            pass
        assert "reach" in str(refused.value)
        for name in ("COMPANY_RO_PASSWORD", "COMPANY_RW_PASSWORD"):
            password = broken.up_environment()[name]
            assert password not in str(refused.value)
            assert password not in broken.log.read_text()


def test_opa_killed_hung_and_back(own_stack: Stack) -> None:
    stack = own_stack
    with connect(stack, "executor") as client:
        (opa,) = processes(stack, "run --server")
        os.kill(opa, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(psycopg.Error) as refused:
            client.execute("SELECT count(*) AS while_hung FROM orders WHERE id < 9")
        assert refused.value.sqlstate == "57P03", refused.value
        assert time.monotonic() - began < 10
        with pytest.raises(psycopg.OperationalError, match="can't be reached"), connect(stack, "executor"):
            pass  # nobody logs in unasked either
        os.kill(opa, signal.SIGKILL)
        until(lambda: answers(stack, "executor"), timeout_s=30, what="answers after OPA came back")
        assert client.execute("SELECT count(*) AS after FROM orders WHERE id < 9").fetchone() == (8,)


def test_decision_service_killed_while_held_fails_closed_and_the_retry_finds_the_approval(own_stack: Stack) -> None:
    stack = own_stack
    statement = "DELETE FROM orders WHERE id = 77"
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, statement)
        approval = str(until(lambda: pending(stack, containing="77"), what="the hold"))
        (service,) = processes(stack, "-m decision --")
        os.kill(stack.pid, signal.SIGSTOP)  # so that nobody starts it again yet
        try:
            os.kill(service, signal.SIGKILL)
            with pytest.raises(psycopg.Error) as refused:
                running.result(20)
            assert refused.value.sqlstate == "57P03", refused.value
            assert approval in str(refused.value)
            with pytest.raises(psycopg.Error) as unasked:
                client.execute("SELECT count(*) AS unasked FROM orders WHERE id < 3")
            assert unasked.value.sqlstate in {"57P03", "57P01"}
        finally:
            os.kill(stack.pid, signal.SIGCONT)
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 77") == "1"
    until(lambda: answers(stack), timeout_s=30, what="the decision service's return")
    assert until(lambda: pending(stack, containing="77")) == approval
    assert stack.review("approve", approval).returncode == 0
    with connect(stack, "executor") as client:
        assert client.execute(statement).rowcount == 1
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 77") == "0"
    held = [record for record in stack.records() if record.get("approval") == approval]
    assert next(record["state"] for record in held if record["kind"] == "approval") == "pending"


def test_a_decision_service_that_is_back_at_once_finds_the_same_session_held(own_stack: Stack) -> None:
    stack = own_stack
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 78")
        approval = str(until(lambda: pending(stack, containing="78"), what="the hold"))
        (service,) = processes(stack, "-m decision --")
        os.kill(service, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: stack.log.read_text().count("decision service ready") == 2, timeout_s=60, what="its return")
        away = time.monotonic() - killed

        def approved() -> bool:
            try:
                return stack.review("approve", approval).returncode == 0
            except CliError:
                return False  # no token while it is away

        until(approved, timeout_s=30, what="the verdict")
        refused = running.exception(20)
        if away < 3 or refused is None:
            assert running.result().rowcount == 1
        else:  # a machine too busy to bring it back within the gateway's patience
            assert isinstance(refused, psycopg.Error)
            assert refused.sqlstate == "57P03", refused
            assert client.execute("DELETE FROM orders WHERE id = 78").rowcount == 1
    assert admin(stack, "SELECT count(*) FROM orders WHERE id = 78") == "0"


def test_a_policy_that_does_not_compile_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    rego = tmp_path / "rego"
    shutil.copytree(Path(__file__).resolve().parents[2] / "rego", rego)
    config = CONFIG.replace("people: people.yaml", f"people: people.yaml\npolicy: {{{{rego: {rego}}}}}")
    with Stack(config=config) as stack:
        assert answers(stack)
        (rego / "main" / "broken.rego").write_text("package twokey.main\n\nallow contains {\n")
        os.kill(stack.pid, signal.SIGHUP)
        until(lambda: "broken.rego" in stack.log.read_text(), what="the refusal in the log")
        assert answers(stack)
        (rego / "main" / "broken.rego").unlink()
        os.kill(stack.pid, signal.SIGHUP)
        assert answers(stack)


def test_a_target_that_dies_mid_result_ends_in_a_clear_error(own_stack: Stack) -> None:
    stack = own_stack
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'company_rw'"
    with connect(stack, "executor", connection="sandbox") as client, client.cursor() as cursor:
        rows = cursor.stream("SELECT a.id FROM orders a CROSS JOIN orders b")  # 400 million, row by row
        for _ in range(1000):
            next(rows)
        assert int(admin(stack, kill)) >= 1
        with pytest.raises(psycopg.OperationalError) as ended:
            for _ in rows:
                pass
        assert ended.value.sqlstate in {"57P01", "08006"}, ended.value
        assert str(ended.value).strip()
    until(lambda: answers(stack, "executor"), what="a new session")
    outcomes = [record["outcome"] for record in stack.records() if record["kind"] == "act"]
    assert any(isinstance(outcome, dict) and outcome["status"] in {"failed", "unknown"} for outcome in outcomes)


@pytest.mark.skipif(not can_be_root(), reason="needs root to mount a small file system")
def test_a_full_disk_stops_what_needs_a_record_and_heals(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", f"size=2m,mode=0700,uid={os.getuid()}", "tmpfs", str(small))
    try:
        config = CONFIG.replace("audit: {{dir: state/audit}}", f"audit: {{{{dir: {small}/audit}}}}")
        with Stack(config=config) as stack:
            assert answers(stack, "executor")
            filler = small / "filler"
            fill(filler)
            before = admin(stack, "SELECT status FROM orders WHERE id = 9")
            refused = None
            for _ in range(50):  # what is left of the last page takes a few records
                try:
                    with connect(stack, "executor") as client:
                        client.execute("UPDATE orders SET status = status WHERE id = 9")
                except psycopg.Error as error:
                    refused = error
                    break
            assert refused is not None
            with pytest.raises(psycopg.Error), connect(stack, "executor") as client:
                client.execute("UPDATE orders SET status = 'unrecorded' WHERE id = 9")
            assert admin(stack, "SELECT status FROM orders WHERE id = 9") == before
            filler.unlink()
            until(lambda: answers(stack, "executor"), timeout_s=30, what="recovery after space was made")
    finally:
        as_root("umount", "-l", str(small))


@pytest.mark.skipif(not can_be_root(), reason="needs root to mount a small file system")
def test_a_full_disk_stops_leased_statements_at_their_window_and_loses_no_record(tmp_path: Path) -> None:
    small, marked = tmp_path / "small", "SELECT id AS while_full FROM orders WHERE id = 1"
    small.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", f"size=4m,mode=0700,uid={os.getuid()}", "tmpfs", str(small))
    try:
        config = CONFIG.replace("audit: {{dir: state/audit}}", f"audit: {{{{dir: {small}/audit}}}}")
        with Stack(config=config) as stack, connect(stack, "executor", connection="sandbox") as client:
            done = 0
            for _ in range(20):
                client.execute(marked)
                done += 1
            fill(small / "filler")
            began, refused = time.monotonic(), None
            while refused is None:
                assert time.monotonic() - began < 40, "leased statements run without records"
                try:
                    client.execute(marked)
                    done += 1
                except psycopg.Error as error:
                    refused = error
            assert refused.sqlstate == "57P03", refused
            (small / "filler").unlink()
            until(lambda: answers(stack, "executor"), timeout_s=30, what="recovery after space was made")
            if not client.closed:
                client.execute(marked)
                done += 1
            client.close()
            until(lambda: executed(stack, "while_full") == done, what="every record of what ran")
    finally:
        as_root("umount", "-l", str(small))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            return


def executed(stack: Stack, mark: str) -> int:
    """How many acts of the marked shape the log says were completed, by whichever record said it."""
    records = stack.records()
    decided = {str(record["operation"]): record for record in records if record["kind"] == "decision"}
    shapes = {str(record["shape_digest"]) for record in decided.values() if mark in str(record)}
    mine = {operation for operation, record in decided.items() if str(record["shape_digest"]) in shapes}
    for record in records:
        intent = record.get("intent")
        if record["kind"] == "act" and isinstance(intent, dict) and str(intent["shape_digest"]) in shapes:
            mine.add(str(record["operation"]))
    outcomes = [record for record in records if record["kind"] == "act" and str(record["operation"]) in mine]
    return sum(isinstance(r.get("outcome"), dict) and r["outcome"]["status"] == "completed" for r in outcomes)  # type: ignore[index]


def test_sigterm_drains_and_exits_zero(own_stack: Stack) -> None:
    with connect(own_stack, "planner") as client:
        client.execute("SELECT 1")
        assert own_stack.stop_twokey() == 0


def test_two_reviewers_at_once_make_one_verdict(stack: Stack) -> None:
    admin(stack, "INSERT INTO orders VALUES (60001, 1, '2026-01-01', 1, 'new') ON CONFLICT DO NOTHING")
    stack.token("bob", "reviewer")
    stack.token("dana", "reviewer")
    with connect(stack, "executor") as client, Background() as pool:
        running = pool.submit(client.execute, "DELETE FROM orders WHERE id = 60001")
        approval = str(until(lambda: pending(stack, containing="60001")))
        yes = pool.submit(stack.review, "approve", approval, subject="bob")
        no = pool.submit(stack.review, "deny", approval, subject="dana")
        outcomes = (yes.result(30).returncode == 0, no.result(30).returncode == 0)
        assert outcomes.count(True) == 1, outcomes
        if outcomes[0]:
            assert running.result(20).rowcount == 1
        else:
            with pytest.raises(psycopg.Error):
                running.result(20)
