"""Sets the project up in its own folder: environment, stubs, OPA. Standard library only; says what it does, and does
nothing that was done before. Run it by `make setup`; every other target does.

What was installed is remembered as a digest of what it was made from, in .venv/twokey-setup.json.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STATE = VENV / "twokey-setup.json"
LOCK = ROOT / "requirements" / "dev.txt"
PROTO = ROOT / "proto"
STUBS = PROTO / "gen"

KEPT_COMPILED = 4  # builds of the hot loop in the cache, for going back and forth between versions

OPA_VERSION = "1.22.2"
OPA_OLDEST = (1, 0, 0)
OPA_MODULE = f"github.com/open-policy-agent/opa@v{OPA_VERSION}"
# What is downloaded where neither opa nor Go is: the newest release whose checksum two independent projects publish
# alike. All policy tests pass on it. A platform that isn't listed is refused, never downloaded unverified.
OPA_DOWNLOAD_VERSION = "1.20.2"
OPA_SHA256: dict[str, str] = {
    "opa_linux_amd64_static": "69da5179ee403d10fa11bab6cfb4ffb0d23dba5f9b682fa977db772a1da5670f",
}


class SetupError(Exception):
    """What went wrong, and what to do about it: one line each."""

    def __init__(self, message: str, todo: str) -> None:
        super().__init__(message)
        self.todo = todo


def cache() -> Path:
    return Path(os.environ.get("TWOKEY_CACHE") or ROOT / ".cache").absolute()


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Whoever else obtains what has this name, in whatever process, waits; what they then find is made.

    The lock ends with the process that holds it (flock(2)), so nothing is left to clean up."""
    locks = cache() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = (locks / name).open("w")
    except OSError:  # in a cache that can't be written nobody makes anything, and what is there can be used
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(step: str, text: str) -> None:
    print(f"set-up: {step:<12} {text}", flush=True)


def run(command: Sequence[str | Path], *, todo: str, environ: dict[str, str] | None = None) -> str:
    """Run quietly; on failure show the end of what it said. Raises SetupError."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
        )
    except OSError as error:
        raise SetupError(f"{command[0]} can't be run: {error.strerror}", todo) from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise SetupError(f"{Path(command[0]).name} failed:\n{tail}", todo)
    return done.stdout


def digest(paths: Iterable[Path], *extra: str) -> str:
    sha = hashlib.sha256()
    for path in sorted(paths):
        sha.update(str(path.relative_to(ROOT)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for text in extra:
        sha.update(b"\1" + text.encode())
    return sha.hexdigest()


def load_state() -> dict[str, str]:
    try:
        state = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in state.items()} if isinstance(state, dict) else {}


def done_before(state: dict[str, str], step: str, made_from: str, work: Callable[[], None]) -> None:
    """Do `work` unless it was done from the same things, and remember it."""
    if state.get(step) == made_from:
        return
    state.pop(step, None)
    began = time.monotonic()
    work()
    state[step] = made_from
    draft = STATE.with_suffix(".new")
    draft.write_text(json.dumps(state, indent=1), encoding="utf-8")
    draft.replace(STATE)
    say(step, f"done in {time.monotonic() - began:.1f} s")


# -- environment ----------------------------------------------------------------------------------------------------


def python() -> Path:
    return VENV / "bin" / "python"


def make_environment() -> None:
    """A fresh .venv of this Python, unless a working one of a supported version is there."""
    if python().exists():
        check = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
        if subprocess.run([str(python()), "-c", check], check=False, capture_output=True).returncode == 0:
            return
        say("environment", "the old one does not work here; making it anew")
        shutil.rmtree(VENV)
    version = ".".join(map(str, sys.version_info[:3]))
    say("environment", f"making {VENV.name} with Python {version}")
    run([sys.executable, "-m", "venv", VENV], todo="install your Python's venv module (Debian, Ubuntu: python3-venv)")


def install_packages() -> None:
    say("packages", f"installing {LOCK.relative_to(ROOT)}, every file checked against its hash (a minute or two)")
    run(
        [
            python(),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "--only-binary=:all:",
            "-r",
            LOCK,
        ],
        todo="check your network, or set PIP_INDEX_URL or PIP_FIND_LINKS to where your packages are",
        environ={"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CACHE_DIR": str(cache() / "pip")},
    )


def install_project() -> None:
    say("project", "installing twokey itself, editable")
    run(
        [python(), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-e", ROOT],
        todo="run `make clean` and try again",
        environ={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


def generate_stubs(sources: Sequence[Path]) -> None:
    say("stubs", f"generating Python from {len(sources)} .proto files")
    shutil.rmtree(STUBS / "twokey", ignore_errors=True)
    STUBS.mkdir(parents=True, exist_ok=True)
    outputs = [f"--{kind}={STUBS}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    run(
        [python(), "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *sources],
        todo="correct the .proto file named above",
    )


# -- the hot loop, compiled -------------------------------------------------------------------------------------------


def compiled_into() -> Path:
    """Where the gateway looks for it (enforcers/compiled.py)."""
    asked = "import sysconfig; print(sysconfig.get_path('platlib'))"
    found = subprocess.run([str(python()), "-c", asked], check=True, capture_output=True, text=True).stdout
    return Path(found.strip()) / "twokey_compiled"


def compile_hot_loop(made_from: str) -> None:
    """From the cache, else with mypyc. Without a C compiler, or where it fails, the sources run as they are."""
    target = compiled_into()
    cached = cache() / "compiled" / made_from[:32]
    if not cached.is_dir():
        if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
            say("hot loop", "no C compiler: it runs as plain Python, slower by half")
            return
        say("hot loop", "compiling the gateway's (two to three minutes, once)")
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            run([python(), ROOT / "tools" / "compile.py", cached], todo="")
        except SetupError as error:
            say("hot loop", f"not compiled, it runs as plain Python, slower by half: {error}")
            return
        for old in sorted(cached.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_COMPILED]:
            shutil.rmtree(old, ignore_errors=True)
    draft = target.with_name(target.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(cached, draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)


def hot_loop_sources() -> list[Path]:
    text = (ROOT / "tools" / "compile.py").read_text(encoding="utf-8")
    return [ROOT / name for name in re.findall(r'^    "(enforcers/\S+\.py)",$', text, re.MULTILINE)]


# -- OPA ------------------------------------------------------------------------------------------------------------


def opa_version(program: Path | str) -> tuple[int, int, int] | None:
    """Of a program; None where it is none, or too old to say."""
    try:
        said = subprocess.run([str(program), "version"], check=False, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^Version: (\d+)\.(\d+)\.(\d+)", said, re.MULTILINE)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def cached_opa() -> Path:
    return cache() / "bin" / "opa"


def find_opa() -> Path | None:
    """The cached one, else that of PATH when it is new enough."""
    if os.access(cached_opa(), os.X_OK):
        return cached_opa()
    on_path = shutil.which("opa")
    if on_path is not None and (opa_version(on_path) or (0, 0, 0)) >= OPA_OLDEST:
        return Path(on_path)
    return None


def obtain_opa() -> None:
    """From Go's module proxy (whose checksum database vouches for the sources), else the official release."""
    on_path = shutil.which("opa")
    if on_path is not None and find_opa() is None:
        say("opa", f"{on_path} is older than 1.0 and is left alone")
    go = shutil.which("go")
    if go is not None:
        say("opa", f"building OPA {OPA_VERSION} with Go (some minutes, once)")
        cached_opa().parent.mkdir(parents=True, exist_ok=True)
        environ = {"GOBIN": str(cached_opa().parent), "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
        environ |= {"GOMODCACHE": str(cache() / "go" / "mod"), "GOCACHE": str(cache() / "go" / "build")}
        run([go, "install", OPA_MODULE], todo="check your network, or put opa 1.0 or newer on PATH", environ=environ)
    else:
        download_opa()
    if (opa_version(cached_opa()) or (0, 0, 0)) < OPA_OLDEST:
        raise SetupError("the OPA just obtained does not run", f"remove {cached_opa()}, or put opa on PATH")


def download_opa() -> None:
    """The official release, checked against OPA_SHA256. Raises SetupError where no sum is known."""
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "")
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    name = f"opa_{system}_{machine}_static"
    wanted = OPA_SHA256.get(name)
    if wanted is None:
        raise SetupError(
            f"OPA {OPA_DOWNLOAD_VERSION} for {platform.system()} {platform.machine()} has no pinned checksum here, "
            "and an unverified program is never run",
            "put opa 1.0 or newer on PATH, or install Go and run make again",
        )
    say("opa", f"downloading OPA {OPA_DOWNLOAD_VERSION}")
    import urllib.request  # noqa: PLC0415 - needed on this path only; it costs time to import

    url = f"https://github.com/open-policy-agent/opa/releases/download/v{OPA_DOWNLOAD_VERSION}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            data = answer.read()
    except OSError as error:
        raise SetupError(f"the download failed: {error}", "check your network, or put opa on PATH") from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise SetupError("the download is not the release: its checksum differs", "try again; report it if it stays so")
    cached_opa().parent.mkdir(parents=True, exist_ok=True)
    draft = cached_opa().with_suffix(".new")
    draft.write_bytes(data)
    draft.chmod(0o755)
    draft.replace(cached_opa())


# -- all of it ------------------------------------------------------------------------------------------------------


def set_up() -> None:
    make_environment()
    state = load_state()
    version = f"{python().resolve()}"
    packages = digest([LOCK], version)
    done_before(state, "packages", packages, install_packages)
    sources = sorted((PROTO / "twokey").rglob("*.proto"))
    stubs = digest([*sources, LOCK], version)
    if not (STUBS / "twokey").is_dir():
        state.pop("stubs", None)
    done_before(state, "stubs", stubs, lambda: generate_stubs(sources))
    project = digest([ROOT / "pyproject.toml"], packages + stubs)  # the installation holds a copy of the stubs
    done_before(state, "project", project, install_project)
    if os.environ.get("TWOKEY_PURE", "") in {"", "0"}:
        hot_loop = digest([ROOT / "tools" / "compile.py", *hot_loop_sources()], packages + stubs)
        done_before(state, "hot loop", hot_loop, lambda: compile_hot_loop(hot_loop))
    if find_opa() is None:
        obtain_opa()
        say("opa", f"{cached_opa()} is ready")


def main() -> int:
    parser = argparse.ArgumentParser(description="Set the project up in its own folder.")
    parser.add_argument("--print-opa", action="store_true", help="print where OPA is, and do nothing else")
    arguments = parser.parse_args()
    if arguments.print_opa:
        found = find_opa()
        print(found or "opa")
        return 0 if found else 1
    try:
        if not (3, 11) <= sys.version_info[:2] <= (3, 13):
            raise SetupError(f"Python {platform.python_version()} is not supported", "use Python 3.11, 3.12 or 3.13")
        set_up()
    except SetupError as error:
        print(f"set-up: {error}\n        {error.todo}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
