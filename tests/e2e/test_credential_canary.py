"""A target's credential is nowhere but in the memory of the gateway: not after everything that can go wrong in a run,
and not after a crash in any phase. Issue 6, "Target credentials"; ADR 30.

Canaries that change their look in every encoding are passwords of real accounts, come by all three kinds of source, and
are looked for in every file written meanwhile, every log line, command line, environment, the store, the audit log, and
every byte that clients received.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psycopg
import pytest

from decision.cli import certificates, config, documents, runfile
from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, SUBJECTS, Stack
from tests.e2e import canary_search, crashing
from tests.e2e.canary_search import Canary, leaks
from tests.e2e.clients import admin, connect, until
from tests.e2e.processes import as_root, gateways, open_files, processes, unprivileged
from tests.e2e.raw_client import RawClient
from tests.e2e.test_faults import answers

pytestmark = pytest.mark.timeout(180)

HELPER = """\
#!/bin/sh
# Gives the executor's credential; `mode` says how it misbehaves.
[ -n "$HELPER_TOKEN" ] || exit 9
case "$(cat {folder}/mode)" in
  fails) cat {folder}/rw.json; cat {folder}/rw.json >&2; exit 3;;
  ends) echo x >> {folder}/count; sed "s/2099-01-01T00:00:00Z/$(date -u -d '+4 seconds' +%FT%TZ)/" {folder}/rw.json;;
  lies) sed s/ExecCredential/Secret/ {folder}/rw.json;;
  *) exec cat {folder}/rw.json;;
esac
"""
REPOSITORY = Path(__file__).parents[2]
# Where programs, and the kernel for them, leave files that nobody told them to.
PLACES = [Path(path) for path in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/crash", "/var/lib/systemd/coredump")]
_EXECUTOR = "executor: {{user: company_rw, password: {}}}"
_PLANNER = "planner: {{user: company_ro, password: {}}}"


def configuration(memory: Path) -> str:
    """The sample's, with a helper for executors, a file for the planners of its second connection, and two workers."""
    ours = f"{{exec: [{memory}/helper], environment: [HELPER_TOKEN]}}"
    text = CONFIG.replace(account(_EXECUTOR, "{env: COMPANY_RW_PASSWORD}"), account(_EXECUTOR, ours))
    first, second = text.split("name: sandbox")
    second = second.replace(
        account(_PLANNER, "{env: COMPANY_RO_PASSWORD}"), account(_PLANNER, f"{{file: {memory}/ro}}")
    )
    assert (first + second).count(str(memory)) == 3
    more = "masking: {{key: {{env: THE_MASKING_KEY}}}}\nenforcers: {{postgres: {{workers: 2}}}}\n"
    return f"{first}name: sandbox{second}{more}"


def account(form: str, source: str) -> str:
    """As CONFIG has it, which is a format string."""
    return form.format(source).replace("{", "{{").replace("}", "}}")


def canary() -> str:
    """Of characters that JSON, URLs, repr and base64 each write otherwise."""
    return f'c%4n/{secrets.token_urlsafe(9)}+"\\{secrets.token_urlsafe(9)}=&<~'


class Guarded(Stack):
    """A stack whose secrets are canaries; `memory` is a folder on a tmpfs with those that come by file and helper."""

    def __init__(self, folder: Path, memory: Path, homes: Sequence[Path]) -> None:
        super().__init__(folder, config=configuration(memory))
        self.began = canary_search.now()
        self.memory = memory
        self.homes = homes
        self._there = entries()
        self._passwords = {"company_ro": canary(), "company_rw": canary()}
        self._others = {"HELPER_TOKEN": canary(), "THE_MASKING_KEY": canary()}
        self.said: list[tuple[str, bytes]] = []  # to clients and people
        credential = {"token": self.passwords["company_rw"], "expirationTimestamp": "2099-01-01T00:00:00Z"}
        document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": credential}
        for name, text in (("rw.json", json.dumps(document)), ("ro", self.passwords["company_ro"])):
            (memory / name).write_text(text)
            (memory / name).chmod(0o600)
        self.helper("works")
        (memory / "helper").write_text(HELPER.format(folder=memory))
        (memory / "helper").chmod(0o700)

    def helper(self, mode: str) -> None:
        (self.memory / "mode").write_text(mode)

    def up_environment(self) -> dict[str, str]:
        given = {**super().up_environment(), **self._others}
        del given["COMPANY_RW_PASSWORD"]  # the helper gives that one
        return {**given, "STORE_PASSWORD": self._passwords["twokey"]} if "twokey" in self._passwords else given

    def store_in_postgresql(self) -> None:
        """On the server that is there, in a database and by an account of its own, whose password is a canary too."""
        self._passwords["twokey"] = canary()
        self.database.run(f"CREATE ROLE twokey LOGIN PASSWORD '{self._passwords['twokey']}'")
        self.database.run("CREATE DATABASE twokey OWNER twokey")
        url = self.database.url("twokey").replace("//", "//twokey@")
        ours = f"store: {{url: {url}, password: {{env: STORE_PASSWORD}}}}"
        text = self.config.read_text()
        assert text.count("store: sqlite:///state/twokey.db") == 1
        self.config.write_text(text.replace("store: sqlite:///state/twokey.db", ours))

    def stored(self) -> Iterator[tuple[str, bytes]]:
        """Every row of every table of the store."""
        tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE tableowner = 'twokey'"
        for table in self.database.run(tables, database="twokey").splitlines():
            yield f"the store's {table}", self.database.run(f"SELECT t FROM {table} t", database="twokey").encode()

    @staticmethod
    def command() -> list[str]:
        """Also where root runs the tests twokey is an ordinary user's here: else nothing could be kept from another."""
        return [*unprivileged(), *Stack.command()]

    def canaries(self) -> list[Canary]:
        found = [
            Canary(user, password, user, admin(self, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"))
            for user, password in self.passwords.items()
        ]
        return found + [Canary(name, text) for name, text in self._others.items()]

    def says(self, who: str, text: str | bytes) -> None:
        self.said.append((who, text if isinstance(text, bytes) else text.encode()))

    def tree(self) -> list[int]:
        return [self.pid, *processes(self, "")]

    def written(self) -> Iterator[tuple[str, bytes]]:
        """By whomever, since the beginning: in the run's own folders, and what is new where programs leave files."""
        new = [path for path in entries() if path not in self._there or path.is_file()]
        return canary_search.files([self.folder, *self.homes, REPOSITORY, *new], self.began, [self.memory])


def entries() -> set[Path]:
    return {path for place in PLACES if place.is_dir() for path in place.iterdir()}


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    homes = [tmp_path / name for name in ("HOME", "TMPDIR")]
    for home in homes:
        home.mkdir()
        monkeypatch.setenv(home.name, str(home))
    folder = scratch_folder("twokey-canary-")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        stack = Guarded(folder, Path(memory), homes)
        try:
            stack.start_database()
            yield stack
        finally:
            stack.stop()
            subprocess.run(["rm", "-rf", str(folder)], check=True)


def logged_in(stack: Guarded, role: str, connection: str) -> RawClient:
    """Each worker has a way of its own to the decision service: that one is back doesn't say that all are."""
    ends = time.monotonic() + 40
    while True:
        client = RawClient(stack.address(connection))
        if client.log_in(role, connection, stack.token(SUBJECTS[role], role)):
            return client
        client.close()
        stack.says(f"a {role} of {connection} who was refused", client.received)
        assert b"C57P03" in client.received, client.received
        assert time.monotonic() < ends, client.received
        time.sleep(0.1)


def converse(stack: Guarded) -> None:
    """Sessions of both roles at both connections: rows, denials, errors; every byte kept."""
    for role, connection in (("planner", "company"), ("executor", "company"), ("planner", "sandbox")):
        client = logged_in(stack, role, connection)
        for statement in (
            "SELECT count(*) FROM customers",
            "SELECT email FROM customers LIMIT 2",
            "SELECT 1/0",
            "DELETE FROM orders",
            "SELECT * FROM pg_catalog.pg_authid",
            "SHOW ALL",
            "SELECT rolpassword FROM pg_authid",
        ):
            if role == "executor" and statement.startswith("DELETE"):
                continue  # it would be held
            client.query(statement)
        client.close()
        stack.says(f"a {role} of {connection}", client.received)


def misfortunes(stack: Guarded) -> None:
    """Log-ins that fail: at the source, at the target, at the gateway."""
    for mode, told in (("fails", b"is redacted"), ("lies", b"of another kind")):
        stack.helper(mode)
        until(
            lambda mode=mode, told=told: misled(stack, mode, told)
        )  # a worker leaves one that failed alone for a while
    stack.helper("works")
    admin(stack, "ALTER ROLE company_ro NOLOGIN")
    stack.says("a planner whose account is closed", refused(stack, "planner"))
    admin(stack, "ALTER ROLE company_ro LOGIN")
    before = admin(stack, "SELECT rolpassword FROM pg_authid WHERE rolname = 'company_ro'")
    admin(stack, "ALTER ROLE company_ro PASSWORD 'another'")
    stack.says("a planner whose password is another's", refused(stack, "planner"))
    admin(stack, f"ALTER ROLE company_ro PASSWORD '{before}'")
    stack.says("somebody with a bad token", refused(stack, "planner", token="x"))
    for arguments in (("doctor",), ("explain", "--connection", "company", "--role", "planner", "SELECT 1")):
        token = stack.token("planner-3", "planner") if arguments[0] == "explain" else None
        done = stack.twokey(*arguments, token=token)
        stack.says(" ".join(arguments), done.stdout + done.stderr)
    done = subprocess.run(
        [*stack.command(), "doctor", "-c", str(stack.config)],
        capture_output=True,
        env=stack.up_environment(),
        check=False,
        timeout=60,
    )
    assert b"can only read" in done.stdout
    stack.says("doctor, with the secrets at hand", done.stdout + done.stderr)


def misled(stack: Guarded, mode: str, told: bytes) -> bool:
    stack.says(f"an executor whose helper {mode}", refused(stack, "executor"))
    return told in stack.log.read_bytes()


def refused(stack: Guarded, role: str, *, token: str | None = None) -> str:
    with pytest.raises(psycopg.OperationalError) as error, connect(stack, role, token=token):
        pass
    return str(error.value)


def back(stack: Guarded) -> None:
    until(lambda: answers(stack, "planner"), timeout_s=40, what="the stack's return")


def killed(stack: Guarded) -> None:
    """Each part, in each of the ways that a process can be made to end."""
    for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
        os.kill(gateways(stack)[0], number)
        back(stack)
    for needle, number in (("-m enforcers", signal.SIGSEGV), ("-m decision", signal.SIGABRT)):
        os.kill(processes(stack, needle)[0], number)
        back(stack)


def test_no_credential_is_anywhere(guarded: Guarded) -> None:
    stack = guarded
    stack.start_twokey()
    looked_at: list[tuple[str, bytes]] = []
    converse(stack)
    looked_at += canary_search.processes(stack.tree())
    misfortunes(stack)
    killed(stack)
    until(lambda: answers(stack, "executor"), timeout_s=40, what="the executor's way in")
    converse(stack)
    looked_at += canary_search.processes(stack.tree())
    stack.says("the auditor", json.dumps(stack.records()))
    run = runfile.read(stack.folder / "state" / "run.json")
    for address in (run.http, *run.metrics):
        stack.says(f"a scraper of {address}", httpx.get(f"http://{address}/metrics", trust_env=False).content)
    assert len([what for what, _ in looked_at if what.startswith("environ")]) >= 2 * 6  # both times, each process
    tree = stack.tree()
    stack.stop_twokey(number=signal.SIGABRT)  # as no supervisor should end; its children go by themselves
    until(lambda: not any(alive(pid) for pid in tree), timeout_s=60, what="the end of every process")
    log = stack.log.read_bytes()
    assert b"credential not fetched" in log  # the misfortunes were told, without what they were about
    written = list(stack.written())
    names = {name for name, _ in written}
    assert str(stack.log) in names
    assert any("state/audit" in name for name in names)
    assert any(name.endswith("twokey.db") for name in names)
    assert not any(Path(name).name.startswith("core") for name in names if stack.folder in Path(name).parents)
    assert leaks(stack.canaries(), [*looked_at, *stack.said, *written]) == []


def test_no_credential_is_in_a_store_on_postgresql_nor_after_a_crash_of_the_supervisor(guarded: Guarded) -> None:
    """It holds every secret that there is: killed while it starts, as soon as it has, and at work."""
    stack = guarded
    stack.store_in_postgresql()
    looked_at: list[tuple[str, bytes]] = []
    for number, moment_s in ((signal.SIGSEGV, 0.7), (signal.SIGABRT, 2.0)):
        with stack.log.open("ab") as log:
            process = subprocess.Popen(
                [*stack.command(), "up", "-c", str(stack.config), "--dev"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=stack.up_environment(),
                start_new_session=True,
            )
        time.sleep(moment_s)
        assert process.poll() is None, stack.log_tail()
        stack._process = process
        tree = stack.tree()
        process.send_signal(number)
        assert process.wait(20) == -number
        until(lambda tree=tree: not any(alive(pid) for pid in tree), timeout_s=60, what="the end of every process")
    stack.start_twokey()
    converse(stack)
    looked_at += canary_search.processes(stack.tree())
    misfortunes(stack)
    tree = stack.tree()
    stack.stop_twokey(number=signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in tree), timeout_s=60, what="the end of every process")
    stored = list(stack.stored())
    assert any(b"executor-7" in rows for _, rows in stored)  # sessions are there
    written = list(stack.written())
    assert not any(Path(name).name.startswith("core") for name, _ in written if stack.folder in Path(name).parents)
    assert leaks(stack.canaries(), [*looked_at, *stack.said, *stored, *written]) == []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- a crash in each phase ---------------------------------------------------------------------------------------------


LIMITLESS = ("sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh")  # cores as large as may be


class Crashing:
    """A decision service of its own, and gateways that crash where and as they are told."""

    def __init__(self, stack: Guarded) -> None:
        self.stack = stack
        self._secret = secrets.token_urlsafe(32)
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Crashing:
        stack = self.stack
        with stack.log.open("ab") as log:
            command = [
                *stack.command(),
                "serve",
                "decision",
                "-c",
                str(stack.config),
                "--dev",
                "--enforcer-secret",
                "-",
            ]
            self._service = service = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=stack.up_environment(),
                start_new_session=True,
            )
        assert service.stdin is not None
        service.stdin.write(self._secret.encode())
        service.stdin.close()
        stack._process = service
        stack.ready = json.loads(stack._ready_line(service))
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop_twokey()

    def gateway(self, phase: str, way: str) -> Gateway:
        loaded = config.load(self.stack.config)
        run = runfile.read(loaded.run_file)
        tls = certificates.RunTls(ca=run.ca, cert="", key="")
        told = documents.Run(instance="enf-crash", dev=True, enforcer_secret=self._secret, tls=tls, opa="")
        given = self.stack.up_environment()
        document = documents.enforcer(
            loaded,
            told,
            grpc=run.decision,
            listen={"company": "127.0.0.1:0", "sandbox": "127.0.0.1:0"},
            instance="enf-crash",
            variables={name: given[name] for name in config.variables(loaded.config)},
        )
        document["workers"] = 1
        return Gateway(self.stack, phase, way, json.dumps(document).encode())


class Gateway:
    """One that was started with a core limit as high as may be, so that it is its own doing that it leaves none."""

    def __init__(self, stack: Guarded, phase: str, way: str, document: bytes) -> None:
        self.folder = stack.folder / f"{phase}-{way}"
        self.folder.mkdir()
        self.out = self.folder / "out.log"
        settings_read, settings_write = os.pipe()
        self._ready, ready_write = os.pipe()
        program = [sys.executable, "-I", crashing.__file__, phase, way, "postgres"]
        with self.out.open("wb") as out:
            self._process = subprocess.Popen(
                [*LIMITLESS, *program, "--settings-fd", str(settings_read), "--ready-fd", str(ready_write)],
                cwd=self.folder,
                env={**stack.base_environment(), "TWOKEY_PURE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(settings_read, ready_write),
                start_new_session=True,
            )
        os.close(settings_read)
        os.close(ready_write)
        with os.fdopen(settings_write, "wb") as pipe:
            pipe.write(document)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> dict[str, str]:
        """Its addresses by connection; empty when it crashed first."""
        with os.fdopen(self._ready, "rb") as pipe:
            line = pipe.readline()
        addresses: dict[str, str] = json.loads(line)["connections"] if line else {}
        return addresses

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)  # Popen's own would take the wait status

    def ended(self) -> int:
        """The wait status of waitpid(2), which tells of a core dump; killed where it lives on after an exception."""
        _, status = os.waitpid(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return status

    def kill(self) -> None:
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()


def crash(stack: Guarded, gateway: Gateway, phase: str, way: str) -> int:
    """Up to the phase, and into it. The wait status."""
    addresses = gateway.ready()
    if phase == "start":
        assert not addresses
        return gateway.ended()
    stack.said += canary_search.processes([gateway.pid])
    host, _, port = addresses["company"].rpartition(":")
    client = RawClient((host, int(port)))
    try:
        open_ = client.log_in("executor", "company", stack.token(SUBJECTS["executor"], "executor"))
        if phase == "session":
            assert open_, client.received
            client.query("SELECT count(*) FROM customers")
        if phase == "shutdown":
            assert open_, client.received
            gateway.terminate()
        if way != "exception":
            client.until_closed()
            return gateway.ended()
        until(lambda: b"raised by the test" in gateway.out.read_bytes() or client.received.endswith(b"\0\0"))
        gateway.kill()
        return 0
    finally:
        client.close()
        stack.says(f"the client of {phase}, {way}", client.received)


def test_no_credential_is_anywhere_after_a_crash_in_any_phase(guarded: Guarded) -> None:
    stack = guarded
    with Crashing(stack) as crashes:
        for phase in crashing.PHASES:
            for way in crashing.WAYS:
                gateway = crashes.gateway(phase, way)
                try:
                    status = crash(stack, gateway, phase, way)
                finally:
                    gateway.kill()
                if way != "exception":
                    assert os.WIFSIGNALED(status), (phase, way, gateway.out.read_text())
                    assert os.WTERMSIG(status) == getattr(signal, f"SIG{way}")
                    assert not os.WCOREDUMP(status), (phase, way)
                else:
                    assert b"UnforeseenError" in gateway.out.read_bytes(), (phase, gateway.out.read_text())
                left = {path.name for path in gateway.folder.iterdir()}
                assert left == {"out.log"}, (phase, way)
        canaries = stack.canaries()
        looked_at = [*canary_search.processes(stack.tree()), *stack.said, *stack.written()]
    assert leaks(canaries, [*looked_at, *stack.written()]) == []


def test_the_same_crash_of_another_program_would_leave_a_core(tmp_path: Path) -> None:
    """Else the test before this one could not fail. Where cores go to a program (core_pattern), that one is told."""
    command = [
        "sh",
        "-c",
        'ulimit -S -c "$(ulimit -H -c)"; exec "$@"',
        "sh",
        sys.executable,
        "-c",
        "import os; os.abort()",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    limit = subprocess.run(["sh", "-c", "ulimit -H -c"], capture_output=True, text=True, check=True).stdout.strip()
    assert os.WCOREDUMP(status) == (limit != "0")


# -- the search itself -------------------------------------------------------------------------------------------------


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    text = canary()
    salt = os.urandom(16)
    found = Canary("x", text, "user", verifier(text, salt))
    for name, form in canary_search.forms(found).items():
        file = tmp_path / "some.log"
        file.write_bytes(b"before " + form + b" after")
        assert any(f"({name})" in leak for leak in leaks([found], canary_search.files([tmp_path], 0))), name
    for offset in range(3):
        around = base64.b64encode(b"x" * offset + text.encode() + b"and more")
        assert leaks([found], [("somewhere", around)])
    assert leaks([Canary("y", canary())], [("somewhere", text.encode())]) == []
    for place in (0, canary_search.PART_BYTES - 7, canary_search.PART_BYTES + 9):  # a large file: in every part of it
        with (tmp_path / "large").open("wb") as large:
            large.seek(place)
            large.write(text.encode())
            large.truncate(2 * canary_search.PART_BYTES)
        assert [
            leak for leak in leaks([found], canary_search.files([tmp_path], 0)) if "(raw)" in leak and "large" in leak
        ]
    assert leaks([found], canary_search.processes([os.getpid()])) == []
    child = subprocess.Popen(["sleep", "60"], env={"X": text})
    try:
        until(lambda: leaks([found], canary_search.processes([child.pid])), what="the environment, after its exec")
    finally:
        child.kill()
        child.wait()


def verifier(text: str, salt: bytes) -> str:
    import hashlib  # noqa: PLC0415 - of this test only
    import hmac  # noqa: PLC0415 - as above

    salted = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256$4096:{parts[0]}${parts[1]}:{parts[2]}"


def changed_before_its_end(stack: Guarded) -> None:
    """The password, at the target and at its source, while a session keeps the old one: refused once, then fetched."""
    old, new = stack.passwords["company_rw"], canary()
    with connect(stack, "executor"):
        text = (stack.memory / "rw.json").read_text()
        (stack.memory / "rw.json").write_text(text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))
        admin(stack, f"ALTER ROLE company_rw PASSWORD '{new}'")
        # Of two workers one has the session, and the old one with it; nobody chooses which is asked.
        until(lambda: all(answers(stack, "executor") for _ in range(8)), timeout_s=40, what="log-ins with the new one")


def readable(path: str) -> bool:
    """By another process of the same user."""
    return subprocess.run([*unprivileged(), "cat", path], capture_output=True, check=False).returncode == 0


def fetched_while_open(stack: Guarded) -> bool:
    """Whether one session's credential is fetched again and again; not where it shares an earlier session's, whose
    end is far, because its worker hasn't closed that one yet."""

    def fetches() -> int:
        count = stack.memory / "count"
        return len(count.read_text()) // len("x\n") if count.exists() else 0

    with connect(stack, "executor") as client:
        before = fetches()
        deadline = time.monotonic() + 20
        while fetches() < before + 3:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return client.execute("SELECT count(*) FROM customers").fetchone() == (500,)


def test_a_running_stack(guarded: Guarded) -> None:
    """What its processes were given, what they load, and that a credential is fetched again before its end."""
    for name in ("enforcers", "structlog", "decision", "sitecustomize"):  # beside the configuration, where they start
        (guarded.folder / name).mkdir()
        (guarded.folder / name / "__init__.py").write_text(f"open({str(guarded.folder / 'trap')!r}, 'w').close()\n")
    guarded.start_twokey()
    for pid in guarded.tree():
        environ = as_root("cat", f"/proc/{pid}/environ")
        for name in ("COMPANY_", "HELPER_TOKEN", "THE_MASKING_KEY"):
            assert name not in environ
        assert "memfd:settings" not in open_files(pid)  # read to its end, and gone
    (opa,) = processes(guarded, "run --server")
    for pid in guarded.tree():
        hidden = {name for name in ("environ", "maps", "auxv") if not readable(f"/proc/{pid}/{name}")}
        assert hidden == (set() if pid == opa else {"environ", "maps", "auxv"}), pid  # OPA can't be hidden from outside
    given = as_root("cat", f"/proc/{opa}/environ").strip("\0").split("\0")
    assert {item.partition("=")[0] for item in given} == {"GOGC", "GOMAXPROCS"}  # two constants for its runtime
    for role, account in (("planner", "company_ro"), ("executor", "company_rw")):  # each its own, by active role
        with connect(guarded, role) as client:
            assert client.execute("SELECT session_user::text").fetchone() == (account,)
    changed_before_its_end(guarded)
    guarded.helper("ends")
    until(lambda: fetched_while_open(guarded), timeout_s=60, what="three more fetches for one session")
    assert not (guarded.folder / "trap").exists()
