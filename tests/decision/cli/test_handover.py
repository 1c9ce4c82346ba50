"""A secret of the environment is out of /proc/PID/environ before anything starts, and still with who needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decision.cli import config, handover
from decision.cli.errors import CliError
from decision.cli.handover import DESCRIPTOR

CANARY = "s3cret-canary"
ROOT = Path(__file__).parents[3]
CONFIG = """\
people: people.yaml
connections:
  - name: crm
    kind: postgres
    environment: test
    upstream: postgresql://127.0.0.1/crm
    credentials:
      planner: {user: ro, password: {env: RO_PASSWORD}}
      executor: {user: rw, password: {exec: [./get], environment: [VAULT_TOKEN, LANG]}}
policy: {opa: {url: "https://opa.example.com", token: {env: OPA_TOKEN}}}
masking: {key: {env: MASKING_KEY}}
"""
# As `twokey up` does it, then what it and its children would see.
PROGRAM = """
import ctypes, json, os, resource, sys
from pathlib import Path
from decision.cli import config, handover, process
process.harden()
loaded = config.load(Path(sys.argv[1]))
given = handover.take(loaded, again=handover.begin_anew)
if os.getppid() != int(sys.argv[2]):
    raise SystemExit("another process")
print(json.dumps({
    "pid": os.getpid(),
    "block": open("/proc/self/environ", "rb").read().decode(errors="replace"),
    "cmdline": open("/proc/self/cmdline", "rb").read().decode(),
    "os": dict(os.environ),
    "given": {name: given[name] for name in sorted(given) if "_" in name and name in set(sys.argv[3].split(","))},
    "pipes": [link for number in os.listdir("/proc/self/fd")
              if os.path.exists(f"/proc/self/fd/{number}") and int(number) > 2
              and (link := os.readlink(f"/proc/self/fd/{number}")).startswith("pipe")],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "twokey.yaml").write_text(CONFIG)
    (tmp_path / "people.yaml").write_text("principals: []\n")
    return tmp_path


def begin(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder / "twokey.yaml"), str(os.getpid()), ",".join(environ)]
    environ |= {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_process_goes_on_without_them(folder: Path) -> None:
    secrets = {name: f"{CANARY}-{name}" for name in ("RO_PASSWORD", "VAULT_TOKEN", "OPA_TOKEN", "MASKING_KEY")}
    done = begin(folder, **secrets, UN_RELATED="kept")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["given"] == secrets | {"UN_RELATED": "kept"}
    assert CANARY not in found["block"] + found["cmdline"] + json.dumps(found["os"])
    assert "UN_RELATED=kept" in found["block"]
    assert "LANG=C.UTF-8" in found["block"]  # the system's own is no secret, though a helper may be given it
    assert found["pipes"] == []
    assert DESCRIPTOR not in found["os"]
    assert found["core"] == [0, 0]
    assert found["dumpable"] == 0


def test_nothing_to_hand_over_begins_nothing_anew(folder: Path) -> None:
    found = json.loads(begin(folder, UN_RELATED="kept").stdout)
    assert found["given"] == {"UN_RELATED": "kept"}
    assert DESCRIPTOR not in found["block"]


@pytest.mark.parametrize("size", [60_000, 100_000])
def test_long_ones_are_handed_over(folder: Path, size: int) -> None:
    found = json.loads(begin(folder, RO_PASSWORD=CANARY + "x" * size).stdout)
    assert len(found["given"]["RO_PASSWORD"]) == len(CANARY) + size
    assert CANARY not in found["block"]


@pytest.mark.parametrize("descriptor", ["x", "-1", "990", "0", "2"])
def test_a_descriptor_that_is_none_of_ours(folder: Path, descriptor: str) -> None:
    done = begin(folder, RO_PASSWORD=CANARY, **{DESCRIPTOR: descriptor})
    assert done.returncode != 0
    assert "names no descriptor with secrets" in done.stderr
    assert CANARY not in done.stderr + done.stdout


def test_a_configuration_that_names_more_meanwhile_is_obeyed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, json.dumps({"RO_PASSWORD": CANARY}).encode())
    os.close(writing)
    monkeypatch.setenv(DESCRIPTOR, str(reading))
    monkeypatch.setenv("MASKING_KEY", "k")
    begun: list[object] = []

    def again(secrets: object) -> None:
        begun.append(secrets)

    handover.take(config.load(folder / "twokey.yaml"), again=again)  # type: ignore[arg-type]  # returns, to look at it
    assert begun == [{"RO_PASSWORD": CANARY, "MASKING_KEY": "k"}]


def test_somebody_else_s_process_is_never_begun_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that calls a command within its own process, for one."""
    monkeypatch.setenv("RO_PASSWORD", CANARY)
    assert handover.environment(config.load(folder / "twokey.yaml"))["RO_PASSWORD"] == CANARY


def test_what_a_pipe_can_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("begun anew without all of them"))
    with pytest.raises(CliError, match="more than a pipe holds") as refused:
        handover.begin_anew({"A": CANARY * 100_000})
    assert CANARY not in str(refused.value)
