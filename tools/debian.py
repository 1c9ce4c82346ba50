"""A program of a Debian package, unpacked below TWOKEY_CACHE with the libraries that small systems lack.

Nothing is installed.
Standard library only, and does nothing that was done before.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.setup import SetupError, alone, cache, run


@dataclass(frozen=True, slots=True)
class Package:
    """libraries: those of its dependencies that are fetched too, a pattern; beside: other packages. program: below the
    folder. shows: its version, by this option."""

    name: str
    libraries: str
    program: str
    shows: str = "--version"
    beside: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return cache() / self.name

    def path(self, root: Path) -> Path:
        return root / self.program

    def obtain(self) -> Path:
        """The folder it is unpacked in. Raises SetupError."""
        with alone(self.name):
            return self._obtain()

    def _obtain(self) -> Path:
        made = self.folder
        if self.path(made).exists():
            return made
        for needed in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(needed) is None:
                raise SetupError(f"{needed} is not here: {self.name} is obtained as a Debian package", "leave it out")
        with tempfile.TemporaryDirectory(prefix=f"twokey-{self.name}-") as work:
            found = self.names()
            if not found:
                refresh()
                found = self.names()
            if not found:
                raise SetupError(f"the package {self.name} is not known here", "apt-get update")
            debs = self._download(Path(work), found)
            draft = made.with_name(made.name + ".new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for deb in debs:
                run(["dpkg-deb", "-x", deb, draft], todo="look at what was downloaded")
            run(
                [self.path(draft), self.shows],
                todo="its libraries are not those of this system: leave it out",
                environ={"LD_LIBRARY_PATH": libraries(draft), "PATH": os.environ.get("PATH", "")},
            )
            shutil.rmtree(made, ignore_errors=True)
            draft.replace(made)
        return made

    def names(self) -> list[str]:
        """The package, and the libraries it needs that a small system lacks. None when the lists do not know it."""
        done = subprocess.run(["apt-cache", "depends", self.name], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not done.stdout.strip():
            return []
        needed = re.compile(rf"\s*Depends: (lib(?:{self.libraries})[\w.+-]*)$")
        return [
            self.name,
            *self.beside,
            *(match[1] for line in done.stdout.splitlines() if (match := needed.match(line))),
        ]

    def _download(self, work: Path, packages: list[str]) -> list[Path]:
        for attempt in (1, 2):
            done = subprocess.run(
                ["apt-get", "download", *packages], cwd=work, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return sorted(work.glob("*.deb"))
            if attempt == 1:
                refresh()
        raise SetupError(
            f"{self.name} was not downloaded: {done.stderr.strip()[-300:]}", "check the network, or leave it out"
        )


def libraries(root: Path) -> str:
    """A value for LD_LIBRARY_PATH."""
    return ":".join(str(path) for path in sorted((root / "usr" / "lib").glob("*-linux-gnu")))


def refresh() -> None:
    """The lists of packages; only root may."""
    subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
