"""PostgreSQL's own regression suite's SQL, from Debian's source package: `python -m tools.regression_sql`.

apt obtains and verifies the package (of whatever version the machine's sources offer), with lists and cache of its own
below TWOKEY_CACHE; src/test/regress/sql is unpacked to TWOKEY_CACHE/postgresql-regress/sql. Nothing is fetched twice.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath

from tools.setup import SetupError, alone, cache, run, say

PACKAGES = (
    "postgresql-18",
    "postgresql-17",
    "postgresql-15",
    "postgresql-16",
    "postgresql-14",
)  # Debian's, newest first
_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
_TODO = "check /etc/apt/sources.list and the network, and run it again"
_INSIDE = "src/test/regress/sql/"


def folder() -> Path:
    return cache() / "postgresql-regress"


@alone("postgresql-regress")
def obtain() -> Path:
    """The folder of *.sql. Raises SetupError."""
    made = folder()
    if (made / "made-from").exists():
        return made / "sql"
    if shutil.which("apt-get") is None:
        raise SetupError("apt-get is needed to obtain PostgreSQL's source package", f"put its SQL below {made}/sql")
    say("regression", "obtaining PostgreSQL's source package")
    work = made.with_name("postgresql-regress.new")
    shutil.rmtree(work, ignore_errors=True)
    options = _apt(work)
    run(["apt-get", *options, "--quiet", "update"], todo=_TODO)
    archive = _download(work, options)
    _unpack(archive, work / "sql")
    (work / "made-from").write_text(archive.name, encoding="utf-8")
    archive.unlink()
    shutil.rmtree(made, ignore_errors=True)
    work.rename(made)
    return made / "sql"


def made_from() -> str:
    """The archive's name, which holds the version."""
    return (folder() / "made-from").read_text(encoding="utf-8")


def source_entries(text: str) -> str:
    """The same places, for sources: both of apt's formats."""
    one_line = re.sub(r"^deb\s", "deb-src ", text, flags=re.MULTILINE)
    return re.sub(r"^Types:.*$", "Types: deb-src", one_line, flags=re.MULTILINE)


def _apt(work: Path) -> list[str]:
    parts = work / "parts"
    for each in (parts, work / "lists" / "partial", work / "cache" / "archives" / "partial"):
        each.mkdir(parents=True)
    for place in _SOURCES:
        for path in [place] if place.is_file() else sorted(place.glob("*")) if place.is_dir() else []:
            if path.suffix in {".list", ".sources"} and "debian" in path.read_text(encoding="utf-8"):
                (parts / path.name).write_text(source_entries(path.read_text(encoding="utf-8")), encoding="utf-8")
    return [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}"),
        *("-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]


def _download(work: Path, options: list[str]) -> Path:
    """Each offered version in turn, newest first: a security archive may have dropped what its list still names."""
    offered = run(["apt-cache", *options, "showsrc", *PACKAGES], todo=_TODO)
    failure: SetupError | None = None
    for package, version in versions(offered):
        try:
            run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(work), "apt-get", *options, "--quiet",
                 "--download-only", "source", f"{package}={version}"], todo=_TODO)  # fmt: skip
        except SetupError as error:
            failure = error
            continue
        return next(work.glob("*.orig.tar.*"))
    raise failure or SetupError("apt offers no source package of PostgreSQL", _TODO)


def versions(shown: str) -> list[tuple[str, str]]:
    """(package, version) of what showsrc says, in order, each once."""
    found = []
    for block in shown.split("\n\n"):
        package = re.search(r"^Package: (postgresql-\d+)$", block, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", block, re.MULTILINE)
        if package and version and (package[1], version[1]) not in found:
            found.append((package[1], version[1]))
    return found


def _unpack(archive: Path, into: Path) -> None:
    into.mkdir(parents=True)
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isfile() and _INSIDE in member.name and member.name.endswith(".sql"):
                data = opened.extractfile(member)
                if data is not None:
                    (into / PurePosixPath(member.name).name).write_bytes(data.read())


def main() -> int:
    try:
        found = obtain()
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n        {error.todo}\n")
        return 1
    sys.stdout.write(f"{len(list(found.glob('*.sql')))} files in {found}, from {made_from()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
