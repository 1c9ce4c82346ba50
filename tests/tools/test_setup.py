"""Set-up finds what is there, refuses what it can't verify, and says what to do."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tools import setup

ROOT = Path(setup.__file__).resolve().parents[1]


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a PATH with nothing on it."""
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_opa_of_the_path_is_used_when_it_is_new_enough(place: Path) -> None:
    opa = program(place / "bin" / "opa", "echo 'Version: 1.4.2'")
    assert setup.find_opa() == opa


@pytest.mark.parametrize("said", ["echo 'Version: 0.70.0'", "echo hello", "exit 1"])
def test_opa_of_the_path_is_left_alone_when_it_is_old_or_none(place: Path, said: str) -> None:
    program(place / "bin" / "opa", said)
    assert setup.find_opa() is None


def test_the_cached_opa_comes_first(place: Path) -> None:
    program(place / "bin" / "opa", "echo 'Version: 1.4.2'")
    cached = program(place / "cache" / "bin" / "opa", f"echo 'Version: {setup.OPA_VERSION}'")
    assert setup.find_opa() == cached


def test_go_builds_the_pinned_version_into_the_cache(place: Path) -> None:
    program(
        place / "bin" / "go",
        'test "$1 $2" = "install github.com/open-policy-agent/opa@v1.22.2" || exit 1\n'
        'printf "#!/bin/sh\\necho Version: 1.22.2\\n" > "$GOBIN/opa"; /bin/chmod 755 "$GOBIN/opa"',
    )
    setup.obtain_opa()
    assert setup.find_opa() == place / "cache" / "bin" / "opa"


def test_a_go_that_fails_says_what_to_do(place: Path) -> None:
    program(place / "bin" / "go", "echo no network >&2; exit 1")
    with pytest.raises(setup.SetupError, match="no network") as caught:
        setup.obtain_opa()
    assert "opa 1.0 or newer on PATH" in caught.value.todo


def test_nothing_unverified_is_downloaded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("it downloaded")

    monkeypatch.setattr(urllib.request, "urlopen", never)
    monkeypatch.setattr(setup, "OPA_SHA256", {})
    with pytest.raises(setup.SetupError, match="no pinned checksum"):
        setup.obtain_opa()


@pytest.mark.parametrize("tampered", [False, True])
def test_a_download_is_the_release_or_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, tampered: bool) -> None:
    release = b"#!/bin/sh\necho 'Version: 1.22.2'\n"
    sums = {
        f"opa_{s}_{m}_static": hashlib.sha256(release).hexdigest()
        for s in ("linux", "darwin")
        for m in ("amd64", "arm64")
    }
    monkeypatch.setattr(setup, "OPA_SHA256", sums)
    served = release + b"#" if tampered else release
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(served))
    if tampered:
        with pytest.raises(setup.SetupError, match="checksum differs"):
            setup.obtain_opa()
        assert not (place / "cache" / "bin" / "opa").exists()
    else:
        setup.obtain_opa()
        assert setup.find_opa() == place / "cache" / "bin" / "opa"


def test_work_is_done_once_and_again_when_what_it_is_made_from_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "STATE", tmp_path / "state.json")
    done: list[str] = []
    for made_from in ("a", "a", "b"):
        setup.done_before(setup.load_state(), "step", made_from, lambda made_from=made_from: done.append(made_from))
    assert done == ["a", "b"]


def test_work_that_failed_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "STATE", tmp_path / "state.json")

    def fails() -> None:
        raise setup.SetupError("no", "do")

    with pytest.raises(setup.SetupError):
        setup.done_before(setup.load_state(), "step", "a", fails)
    assert setup.load_state() == {}


def test_a_command_that_fails_shows_the_end_of_what_it_said() -> None:
    with pytest.raises(setup.SetupError, match="the reason") as caught:
        setup.run([sys.executable, "-c", "import sys; sys.exit('the reason')"], todo="do this")
    assert caught.value.todo == "do this"


def test_every_requirement_is_pinned_with_hashes_and_names_no_index() -> None:
    for name in ("dev.txt", "run.txt"):
        text = (ROOT / "requirements" / name).read_text()
        assert "://" not in text
        entries = [entry for entry in re.split(r"\n(?=[a-zA-Z])", text) if not entry.startswith("#")]
        assert len(entries) > 30
        for entry in entries:
            assert re.match(r"[\w.\[\],-]+==[\w.+!-]+", entry), entry[:80]
            assert "--hash=sha256:" in entry, entry[:80]


def test_no_python_says_how_to_get_one(tmp_path: Path) -> None:
    for tool in ("sh", "env"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    done = subprocess.run(
        [str(tmp_path / "sh"), str(ROOT / "tools" / "find-python"), "tools/setup.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "no Python 3.11, 3.12 or 3.13" in done.stderr
    assert "apt install python3" in done.stderr


def test_an_unsupported_python_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "python3.13", "exit 1")
    (tmp_path / "python3.12").symlink_to(sys.executable)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "find-python"), "-c", "print('found')"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        check=False,
    )
    assert done.stdout == "found\n"


def test_the_make_targets_that_contributing_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named <= targets
    for path in (ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "test.yaml"):
        assert set(re.findall(r"\bmake ([a-z]+)", path.read_text())) <= targets
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


INSIDE = """
import os, pathlib, sys, time
from tools import setup
with setup.alone("rig"):
    inside = pathlib.Path(sys.argv[1])
    inside.mkdir()  # raises while another one is there
    time.sleep(0.2)
    inside.rmdir()
"""


def test_what_several_processes_want_at_once_is_obtained_by_one_at_a_time(place: Path) -> None:
    command = [sys.executable, "-c", INSIDE, str(place / "inside")]
    running = [subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) for _ in range(4)]
    assert [process.wait(timeout=30) for process in running] == [0, 0, 0, 0]


def test_a_cache_that_can_not_be_written_is_used_as_it_is(place: Path) -> None:
    (place / "cache").write_text("a file, where no folder can be made")
    with setup.alone("rig"):
        assert (place / "cache").is_file()


def test_threads_of_one_process_take_turns_too(place: Path) -> None:
    order: list[str] = []

    def another() -> None:
        with setup.alone("rig"):
            order.append("another")

    thread = threading.Thread(target=another)
    with setup.alone("rig"):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "another"]
