"""The folder OPA starts from, and OPA's own judgement of it before anything runs.

Two bundles whose roots can't overlap: `policy` (root `twokey`: ours to decide with) and `gate` (root `system`: who may
ask OPA what). A policy module outside `twokey` is refused by OPA itself, so no policy file can open the gate. The gate
knows the run's token only as its SHA-256: no secret is ever written.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import orjson

from decision.errors import PolicyLoadError
from decision.policy.bundle import LoadedPolicy

_COMMAND_DEADLINE_S = 30.0
_MAX_MESSAGE = 4000

_FILE = re.compile(r"(?<!\S)policy/")  # how OPA names a staged file

_GATE = """package system.authz

default allow := false

allow if {
	crypto.sha256(input.identity) == "@DIGEST@"
	permitted
}

permitted if {
	input.method == "POST"
	input.path == ["v1", "data", "twokey", "main", "decision"]
	input.params == {"strict-builtin-errors": ["true"]}
}

permitted if {
	input.method == "GET"
	input.path == ["health"]
	input.params == {}
}
"""


@contextlib.contextmanager
def staged(policy: LoadedPolicy, token: str) -> Iterator[Path]:
    """A private folder (0700) with both bundles, gone at the end: OPA reads it once, at its start."""
    folder = Path(tempfile.mkdtemp(prefix="twokey-opa-"))
    try:
        _write_policy(folder / "policy", policy)
        gate = folder / "gate"
        gate.mkdir()
        digest = hashlib.sha256(token.encode()).hexdigest()
        (gate / "gate.rego").write_text(_GATE.replace("@DIGEST@", digest) + _foreign(policy), encoding="utf-8")
        (gate / ".manifest").write_bytes(orjson.dumps({"revision": policy.revision, "roots": ["system"]}))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _foreign(policy: LoadedPolicy) -> str:
    """The gate's leave for entrypoints of foreign resource types, none of which is in a package of twokey's."""
    paths = sorted({tuple(package.split(".")) for package in policy.entrypoints.values()})
    return "".join(
        f"""
permitted if {{
	input.method == "POST"
	input.path == {orjson.dumps(["v1", "data", *path, "decision"]).decode()}
	input.params == {{"strict-builtin-errors": ["true"]}}
}}
"""
        for path in paths
    )


def _write_policy(folder: Path, policy: LoadedPolicy) -> None:
    folder.mkdir()
    roots = sorted({"twokey", *(package.split(".")[0] for package in policy.entrypoints.values())})
    (folder / ".manifest").write_bytes(orjson.dumps({"revision": policy.revision, "roots": roots}))
    (folder / "data.json").write_bytes(policy.data)
    for name, content in policy.modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def check(policy: LoadedPolicy, opa: Path) -> None:
    """Compile the policy strictly, against the capabilities file and the input schema. Raises PolicyLoadError."""
    arguments = ["check", "--strict", "--bundle", "--capabilities", str(policy.capabilities)]
    if policy.schema is not None:
        arguments += ["--schema", str(policy.schema)]
    try:
        async with _staged_in_thread(policy) as folder:
            code, output = await run_opa(opa, [*arguments, "policy"], cwd=folder)
    except OSError as error:
        raise PolicyLoadError(f"the policy can't be staged: {error.strerror}", next_step="free the disk") from None
    if code != 0:
        message = _FILE.sub(lambda _: f"{policy.rego_dir}/", output)[:_MAX_MESSAGE].strip()
        raise PolicyLoadError(f"the policy was refused: {message}", next_step="correct the Rego and save it again")


@contextlib.asynccontextmanager
async def _staged_in_thread(policy: LoadedPolicy) -> AsyncIterator[Path]:
    with contextlib.ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, staged(policy, ""))


async def engine_version(opa: Path) -> str:
    """What `opa version` says: part of the revision, because another engine may decide otherwise."""
    code, output = await run_opa(opa, ["version"], cwd=Path("/"))
    if code != 0 or not output.startswith("Version: "):
        raise PolicyLoadError(f"{opa} is not OPA: {output[:200]}", next_step="point opa.path at OPA 1.x")
    return output


async def run_opa(opa: Path, arguments: Sequence[str], *, cwd: Path) -> tuple[int, str]:
    """Run one OPA command with an empty environment; exit code and both streams. Raises PolicyLoadError."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(opa),
            *arguments,
            cwd=cwd,
            env={},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        fix = "install OPA 1.x, or set opa.path"
        raise PolicyLoadError(f"{opa} can't be run: {error.strerror}; {fix}", next_step=fix) from None
    try:
        async with asyncio.timeout(_COMMAND_DEADLINE_S):
            output, _ = await process.communicate()
    except TimeoutError:
        message = f"opa {arguments[0]} took longer than {_COMMAND_DEADLINE_S:.0f} s"
        raise PolicyLoadError(message) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, output.decode("utf-8", "replace")
