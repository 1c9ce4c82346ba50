"""pgbouncer for the bench, where Debian's package can be had: `python -m tools.pgbouncer` prints the program's path.

The package and the libraries that small systems lack are downloaded and unpacked below TWOKEY_CACHE; nothing is
installed. Standard library only, and does nothing that was done before.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.setup import SetupError, cache, run

PACKAGE = "pgbouncer"
LIBRARIES = re.compile(r"\s*Depends: (lib(?:c-ares|event)[\w.+-]*)$")


def folder() -> Path:
    return cache() / PACKAGE


def program(root: Path) -> Path:
    return root / "usr" / "sbin" / PACKAGE


def libraries(root: Path) -> str:
    """A value for LD_LIBRARY_PATH."""
    return ":".join(str(path) for path in sorted((root / "usr" / "lib").glob("*-linux-gnu")))


def obtain() -> Path:
    """The folder it is unpacked in. Raises SetupError."""
    made = folder()
    if program(made).exists():
        return made
    for needed in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise SetupError(f"{needed} is not here: pgbouncer is obtained as a Debian package", "leave it out")
    with tempfile.TemporaryDirectory(prefix="twokey-pgbouncer-") as work:
        found = names()
        if not found:
            refresh()
            found = names()
        if not found:
            raise SetupError("the package pgbouncer is not known here", "apt-get update")
        debs = download(Path(work), found)
        draft = made.with_name(made.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for deb in debs:
            run(["dpkg-deb", "-x", deb, draft], todo="look at what was downloaded")
        answers(draft)
        shutil.rmtree(made, ignore_errors=True)
        draft.replace(made)
    return made


def names() -> list[str]:
    """The package, and the libraries it needs that a small system lacks. None when the lists do not know it."""
    done = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        return []
    return [PACKAGE, *(match[1] for line in done.stdout.splitlines() if (match := LIBRARIES.match(line)))]


def refresh() -> None:
    """The lists of packages; only root may."""
    subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)


def download(work: Path, packages: list[str]) -> list[Path]:
    for attempt in (1, 2):
        done = subprocess.run(["apt-get", "download", *packages], cwd=work, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return sorted(work.glob("*.deb"))
        if attempt == 1:
            refresh()
    raise SetupError(
        f"pgbouncer was not downloaded: {done.stderr.strip()[-300:]}", "check the network, or leave it out"
    )


def answers(root: Path) -> None:
    run(
        [program(root), "--version"],
        todo="its libraries are not those of this system: leave it out",
        environ={"LD_LIBRARY_PATH": libraries(root), "PATH": os.environ.get("PATH", "")},
    )


def main() -> int:
    try:
        print(program(obtain()))
    except SetupError as error:
        print(f"pgbouncer: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
