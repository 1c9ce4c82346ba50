"""`twokey login --ssh` through a whole stack, and a real sshd that believes what it writes, or doesn't."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from decision.identity import ssh
from decision.identity.ssh import SshAuthority, Wanted
from decision.model import IdentityKey, VerifiedToken
from tests.e2e.clients import until
from tests.e2e.sshd import Sshd
from tools import openssh

BASTION = """\
  - {{name: bastion, kind: ssh, environment: production, upstream: 'ssh://127.0.0.1:22'}}
decision: {{ssh: {{key: {{file: ssh-ca}}}}}}
store:"""


@pytest.fixture(scope="module")
def bastion() -> Iterator[Stack]:
    stack = Stack(config=CONFIG.replace("store:", BASTION))
    subprocess.run(
        [openssh.tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(stack.folder / "ssh-ca")],
        check=True,
        timeout=20,
    )
    with stack:
        yield stack


@pytest.fixture
def sshd(bastion: Stack) -> Iterator[Sshd]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Sshd(listed(bastion, "ca").text, port) as running:
        yield running


def listed(stack: Stack, what: str) -> httpx.Response:
    run = json.loads((stack.folder / "state" / "run.json").read_text())
    answer = httpx.get(f"http://{run['http']}/ssh/{what}", timeout=10)
    assert answer.status_code == 200
    return answer


def log_in(stack: Stack, key: Path, *more: str, role: str = "executor", subject: str = "executor-7") -> dict[str, str]:
    done = stack.twokey(
        "login", "--ssh", "--connection", "bastion", "--role", role, "--key", str(key), "--json", *more,
        token=stack.token(subject, role),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_real_sshd_takes_it_for_its_principal_and_command_alone(bastion: Stack, sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "ssh" / "key"
    told = log_in(bastion, key)
    assert told["user"] == "executor+bastion"
    assert {stat.S_IMODE(path.stat().st_mode) for path in key.parent.iterdir()} == {0o600}
    ends = datetime.fromisoformat(told["expires"].replace("Z", "+00:00"))
    assert timedelta(0) < ends - datetime.now(UTC) <= timedelta(minutes=5)
    shown = subprocess.run(
        [openssh.tool("ssh-keygen"), "-L", "-f", told["certificate"]], capture_output=True, text=True, check=True
    )
    assert "executor+bastion" in shown.stdout

    sshd.trust(krl=listed(bastion, "krl").content, principals="executor+bastion")
    taken, said = sshd.ssh(key, "echo 41 and 1")
    assert taken, said + sshd.log
    assert "41 and 1\n" in said
    (record,) = [one for one in bastion.records() if one.get("credential") == "ssh-certificate"]
    until(lambda: f"ID {record['key_id']} (serial {record['serial']}) CA" in sshd.log, what="the log-in in its log")

    sshd.trust(krl=listed(bastion, "krl").content, principals="planner+bastion")
    taken, said = sshd.ssh(key, "true")
    assert not taken
    until(lambda: "principal" in sshd.log.split("Accepted publickey")[-1], what="why")

    log_in(bastion, key, "--command", "echo only $SSH_ORIGINAL_COMMAND")
    sshd.trust(krl=listed(bastion, "krl").content, principals="executor+bastion")
    assert "only id\n" in sshd.ssh(key, "id")[1]


def test_a_revoked_one_is_refused_within_a_second(bastion: Stack, sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    log_in(bastion, key, role="planner", subject="planner-3")
    sshd.trust(krl=listed(bastion, "krl").content, principals="planner+bastion")
    assert sshd.ssh(key, "true")[0]
    before = listed(bastion, "krl").content
    killed = bastion.twokey(
        "sessions", "kill", "--party", "planner-3", "--reason", "key stolen", token=bastion.token("frank", "admin")
    )
    assert killed.returncode == 0, killed.stderr
    until(lambda: len(listed(bastion, "krl").content) > len(before), what="the list")
    sshd.trust(krl=listed(bastion, "krl").content, principals="planner+bastion")
    assert not sshd.ssh(key, "true")[0]
    until(lambda: "revoked by file" in sshd.log, what="why")


def test_one_that_has_run_out_or_is_of_another_authority(bastion: Stack, sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    told = log_in(bastion, key)
    sshd.trust(krl=None, principals="executor+bastion")
    now = datetime.now(UTC)
    identity = IdentityKey("https://idp.example", "x")
    token = VerifiedToken(
        identity=identity, actors=(), roles=("executor",), expires=now, token_id="t", dev=False, issuer=identity.iss
    )
    public = ssh.read_public_key((tmp_path / "key.pub").read_text())
    wanted = Wanted(key=public, connection="bastion", role="executor", command="", address="loopback")
    ours = SshAuthority.read((bastion.folder / "ssh-ca").read_text())
    Path(told["certificate"]).write_text(ours.certify(wanted, token, now=now - timedelta(hours=1)).text + "\n")
    assert not sshd.ssh(key, "true")[0]
    until(lambda: "Certificate invalid: expired" in sshd.log, what="why")
    subprocess.run(
        [openssh.tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ca")],
        check=True,
        timeout=20,
    )
    other = SshAuthority.read((tmp_path / "ca").read_text())
    alive = VerifiedToken(
        identity=identity, actors=(), roles=("executor",), expires=now + timedelta(hours=1), token_id="t", dev=False,
        issuer=identity.iss,
    )  # fmt: skip
    Path(told["certificate"]).write_text(other.certify(wanted, alive, now=now).text + "\n")
    assert not sshd.ssh(key, "true")[0]
    Path(told["certificate"]).write_text(ours.certify(wanted, alive, now=now).text + "\n")
    assert sshd.ssh(key, "true")[0]


def test_the_authoritys_key_is_written_nowhere(bastion: Stack) -> None:
    body = (bastion.folder / "ssh-ca").read_text().splitlines()[4]  # where the private part is
    assert len(body) > 30
    for path in bastion.folder.rglob("*"):
        if path.is_file() and path.name != "ssh-ca" and "postgresql" not in path.parts:
            assert body.encode() not in path.read_bytes(), path
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert body.encode() not in command.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_who_may_not(bastion: Stack, tmp_path: Path) -> None:
    token = bastion.token("executor-7", "executor")
    asked = ("login", "--ssh", "--role", "executor", "--key", str(tmp_path / "key"), "--connection")
    refused = bastion.twokey(*asked, "company", token=token)
    assert refused.returncode == 1
    assert "DUTY-CREDENTIAL-SSH" in refused.stderr
    assert not (tmp_path / "key-cert.pub").exists()
