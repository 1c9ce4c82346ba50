"""All tests on the newest PostgreSQL, and what touches a server again on others: `make test`, `make test-all`.

`python -m tools.run_tests [--all] [pytest's arguments]`. Every pass runs, also after one that failed, so that one run
says all there is to say. The servers are obtained first (tools/postgres_binaries.py); before all tests the rest of what
they obtain for themselves too, lest a slow network counts as a test that hangs.

The first pass runs the gateway's hot loop compiled, as set-up made it; the further ones and a last one over the
gateway's own tests run it as plain Python (docs/decisions/0011-compiled-hot-loop.md).

Files of tests run side by side, one process for each processor and two at least: most of their time they wait. Within a
file they keep their order. `-n 0` runs all in one process, as a debugger needs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tools import chromium, oidc, openssh, psql_oauth
from tools.postgres_binaries import NEWEST, OLDEST, RELEASES, obtain
from tools.setup import ROOT, SetupError, python, say

NO_TESTS = 5  # pytest's exit code where nothing was selected
INTERRUPTED = 2

PURE = ("-m", "not target", "tests/enforcers")

SIDE_BY_SIDE = ("--dist", "loadfile", "--no-loadscope-reorder", "-n")  # in the order of tests/conftest.py
LEAST_PROCESSES = 2

Run = Callable[[Sequence[str], bool], int]  # pytest's arguments; whether the hot loop is the compiled one


def versions(*, every: bool) -> tuple[int, ...]:
    """Newest first."""
    return tuple(sorted(RELEASES, reverse=True)) if every else (NEWEST, OLDEST)


def run_passes(majors: Sequence[int], arguments: Sequence[str], run: Run) -> int:
    """0 when every pass passed; else the first failure's exit code. run: pytest with these arguments."""
    results: list[tuple[int, int, float]] = []
    for number, major in enumerate(majors):
        began = time.monotonic()
        again = ["-m", "target"] if number else []
        code = run(["--postgres", f"maven:{major}", *arguments, *again], not number)
        # Nothing on a server among the tests that were asked for: then there is nothing to run again.
        results.append((major, 0 if number and code == NO_TESTS else code, time.monotonic() - began))
        if code == INTERRUPTED:
            break
    for major, code, seconds in results:
        print(f"PostgreSQL {major}: {'ok' if code == 0 else f'failed ({code})'} in {seconds:.0f} s", flush=True)
    return next((code for _, code, _ in results if code), 0)


def run_plain(options: Sequence[str], run: Run) -> int:
    """The gateway's own tests, those without a server, on the hot loop as plain Python."""
    began = time.monotonic()
    code = run([*options, *PURE], False)  # noqa: FBT003 - Run's one switch
    print(f"plain Python: {'ok' if code == 0 else f'failed ({code})'} in {time.monotonic() - began:.0f} s", flush=True)
    return code


def side_by_side(arguments: Sequence[str], processors: int) -> list[str]:
    """What has pytest use several processes; nothing where the arguments say how many themselves."""
    if any(argument.startswith(("-n", "--numprocesses")) for argument in arguments):
        return []
    return [*SIDE_BY_SIDE, str(max(LEAST_PROCESSES, processors))]


def _pytest(arguments: Sequence[str], compiled: bool) -> int:
    environment = {**os.environ, "TWOKEY_PURE": "0" if compiled else "1"}
    command = [str(python()), "-m", "pytest", *side_by_side(arguments, os.cpu_count() or 1), *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode


def obtain_rigs() -> None:
    """What can't be had is said; the tests that need it say so once more, and fail."""
    for get in (oidc.obtain, openssh.obtain, psql_oauth.obtain, chromium.obtain, chromium.axe):
        try:
            get()
        except SetupError as error:
            say("rigs", f"{error}; {error.todo}")


def main() -> int:
    arguments = sys.argv[1:]
    every = "--all" in arguments
    if every:
        arguments.remove("--all")
    majors = versions(every=every)
    try:
        for major in majors:
            obtain(major)
        if not arguments or "tests" in arguments:
            obtain_rigs()
    except SetupError as error:
        print(f"set-up: {error}\n        {error.todo}", file=sys.stderr)
        return 1
    try:
        code = run_passes(majors, arguments, _pytest)
        if code != INTERRUPTED and (not arguments or "tests" in arguments):
            code = run_plain([option for option in arguments if option != "tests"], _pytest) or code
        return code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
