"""Finding OPA and the policies: the same search for `up`, `policy` and `doctor`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from decision.cli.errors import CliError

OLDEST = (1, 0, 0)  # Rego v1 by default
PROJECT = Path(__file__).resolve().parents[2]
HOW_TO_GET_IT = "run `make setup`, or put opa 1.0 or newer on PATH"


def find(environ: Mapping[str, str]) -> Path:
    """The OPA to run: that of the set-up's cache first (its version is pinned), else PATH's. Raises CliError."""
    caches = [Path(environ["TWOKEY_CACHE"])] if environ.get("TWOKEY_CACHE") else []
    for cache in [*caches, PROJECT / ".cache"]:
        candidate = cache.absolute() / "bin" / "opa"
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    on_path = shutil.which("opa", path=environ.get("PATH"))
    if on_path is None:
        raise CliError("opa was not found", next_step=HOW_TO_GET_IT)
    return Path(on_path).absolute()


def version(opa: Path) -> tuple[int, int, int]:
    """Of the program at `opa`. Raises CliError: it doesn't run, or is too old."""
    try:
        done = subprocess.run([str(opa), "version"], capture_output=True, text=True, timeout=20, check=True, env={})
    except (OSError, subprocess.SubprocessError) as error:
        raise CliError(f"{opa} does not run: {type(error).__name__}", next_step=HOW_TO_GET_IT) from None
    found = re.search(r"^Version: (\d+)\.(\d+)\.(\d+)", done.stdout, re.MULTILINE)
    if found is None:
        raise CliError(f"{opa} does not say its version", next_step=HOW_TO_GET_IT)
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    if numbers < OLDEST:
        raise CliError(f"{opa} is {'.'.join(map(str, numbers))}, older than 1.0", next_step=HOW_TO_GET_IT)
    return numbers


def shipped_rego() -> Path:
    """The policies that come with twokey: inside an installed package, or beside the sources."""
    installed = PROJECT / "decision" / "shipped" / "rego"
    return installed if installed.is_dir() else PROJECT / "rego"
