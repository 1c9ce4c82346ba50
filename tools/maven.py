"""One file from a Maven repository, through Maven itself (whose settings say which repository), checked against a
pinned checksum before anybody uses it. Kept below TWOKEY_CACHE; nothing is fetched twice."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tools.setup import SetupError, alone, cache, run, say

# The plugin's version is part of what is run, so it is pinned too.
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@alone("maven")
def fetch(group: str, artifact: str, version: str, wanted: str) -> Path:
    """The jar, whose SHA-256 in hexadecimal must be `wanted`. Raises SetupError."""
    folder = cache() / "maven" / "files"
    jar = folder / f"{artifact}-{version}.jar"
    if jar.exists() and sha256(jar) == wanted:
        return jar
    mvn = shutil.which("mvn")
    if mvn is None:
        raise SetupError(
            f"Maven is needed to obtain {group}:{artifact}:{version}",
            f"install Maven (Debian, Ubuntu: maven), or put the jar at {jar}",
        )
    say("maven", f"obtaining {artifact} {version}")
    incoming = cache() / "maven" / "incoming"
    run(
        [
            *(mvn, "--batch-mode", "--quiet", _COPY, f"-Dartifact={group}:{artifact}:{version}"),
            *(f"-DoutputDirectory={incoming}", f"-Dmaven.repo.local={cache() / 'maven' / 'repository'}"),
        ],
        todo="check your network and Maven's settings, and run it again",
    )
    arrived = incoming / jar.name
    if not arrived.exists():
        raise SetupError(f"Maven did not bring {jar.name}", "check Maven's settings, and run it again")
    found = sha256(arrived)
    if found != wanted:
        arrived.unlink()
        raise SetupError(
            f"{jar.name} is not what was pinned: its SHA-256 is {found}", "try again; report it if it stays so"
        )
    folder.mkdir(parents=True, exist_ok=True)
    arrived.replace(jar)
    return jar
