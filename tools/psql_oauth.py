"""psql 18 with libpq-oauth, its own log-in by device code: `python -m tools.psql_oauth` prints how it is started.

No binary of PostgreSQL that registries carry has libpq-oauth but Debian's, from its 14th release on. So psql, libpq,
that module, curl's library and the C library they were built with are unpacked below TWOKEY_CACHE and started by that C
library's own loader. Nothing is installed; the mirror is this machine's own, and its signatures are checked by apt.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tools.debian import refresh
from tools.setup import SetupError, alone, cache, run

RELEASE = "forky"
ASKED = ("postgresql-client-18", "libpq-oauth", "libpq5", "libcurl4t64", "libreadline8t64", "zlib1g")
_LIBRARY = re.compile(r"(?:lib[a-z0-9][\w.+-]*|zlib1g)\Z")
_LEFT_OUT = re.compile(r"lib(?:perl|gdbm|db5|c-gconv)")  # of psql's wrapper in Perl, which is not used
_QUIET = ("no-recommends", "no-suggests", "no-conflicts", "no-breaks", "no-replaces", "no-enhances", "no-pre-depends")


@alone("psql-oauth")
def obtain() -> list[str]:
    """The words that psql is started with. Raises SetupError."""
    made = cache() / "psql-oauth"
    if not made.is_dir():
        _make(made)
    return _command(made)


def _make(made: Path) -> None:
    for needed in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise SetupError(f"{needed} is not here: psql with libpq-oauth is Debian's", "leave its test out")
    work = made.with_name("psql-oauth.apt")
    draft = made.with_name("psql-oauth.new")
    for folder in (work, draft):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (work / "lists" / "partial", work / "cache" / "archives" / "partial", work / "debs", draft):
        folder.mkdir(parents=True)
    (work / "sources.list").write_text(f"deb {_mirror()} {RELEASE} main\n")
    run(["apt-get", *_options(work), "update", "-q"], todo="check the network")
    run(
        ["env", "-C", work / "debs", "apt-get", *_options(work), "download", *_packages(work)],
        todo="check the network; Debian may have another release by now (RELEASE in tools/psql_oauth.py)",
    )
    for deb in sorted((work / "debs").glob("*.deb")):
        run(["dpkg-deb", "-x", deb, draft], todo="look at what was downloaded")
    run([*_command(draft), "--version"], todo="this machine can't run it")
    draft.replace(made)
    shutil.rmtree(work)


def _options(work: Path) -> list[str]:
    """apt, with folders and sources of its own: what is installed here is not looked at."""
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": work / "cache",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


def _mirror() -> str:
    """Where this machine has Debian from. Raises SetupError."""
    for attempt in (1, 2):
        asked = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        found = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith("Debian ")]
        plain = [one for one in found if "security" not in one]
        if plain:
            return plain[0]
        if attempt == 1:
            refresh()
    raise SetupError("no source of Debian's packages is configured", "add one to apt's sources")


def _packages(work: Path) -> list[str]:
    """Those asked for, and the libraries they need. Raises SetupError."""
    quiet = [f"--{one}" for one in _QUIET]
    text = run(["apt-cache", *_options(work), "depends", "--recurse", *quiet, *ASKED], todo="check the network")
    needed = {line for line in text.splitlines() if _LIBRARY.match(line) and not _LEFT_OUT.match(line)}
    return sorted(needed | set(ASKED))


def _command(root: Path) -> list[str]:
    libraries = sorted((root / "usr" / "lib").glob("*-linux-gnu"))
    loader = sorted(path for folder in libraries for path in folder.glob("ld-linux*"))
    psql = root / "usr" / "lib" / "postgresql" / "18" / "bin" / "psql"
    if not loader or not psql.exists():
        raise SetupError(f"{root} holds no psql and loader", f"remove {root} and try again")
    return [str(loader[0]), "--library-path", ":".join(map(str, libraries)), str(psql)]


def main() -> int:
    try:
        print(shlex.join(obtain()))
    except SetupError as error:
        print(f"psql_oauth: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
