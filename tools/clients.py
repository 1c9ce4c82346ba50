"""The clients of tests/clients that no Python package brings: `python -m tools.clients` obtains and builds them.

node-postgres from npm, pgx through the Go module proxy, tokio-postgres from crates, pgjdbc from Maven: the newest
release of each, pinned, by its own package manager and the registries that is set up for. Everything is made below
TWOKEY_CACHE, from copies of the sources here, so that no lock file with anybody's addresses appears in the tree.
Standard library only; what was made before from the same sources is left alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.maven import fetch
from tools.setup import ROOT, SetupError, alone, cache, digest, run, say

SOURCES = ROOT / "tests" / "clients"
PGJDBC = ("org.postgresql", "postgresql", "42.7.13", "6e0e4cc2d8cae902084f8a2b18728b073a6fd9d1f87c9d8bff8f298c18185b93")
NETWORK = "check your network and this package manager's settings, and run it again"


def folder(name: str) -> Path:
    """Where the client of that language is, once obtained."""
    return cache() / "clients" / name


def pgjdbc() -> Path:
    """The driver's jar. Raises SetupError."""
    return fetch(*PGJDBC)


def needed(program: str, package: str) -> str:
    """The program's path. Raises SetupError."""
    found = shutil.which(program)
    if found is None:
        raise SetupError(
            f"{program} is needed to test clients written for it", f"install it (Debian, Ubuntu: {package})"
        )
    return found


def obtain_node(made: Path) -> None:
    run(
        [needed("npm", "npm"), "install", "--no-package-lock", "--ignore-scripts", "--silent", "--prefix", made],
        todo=NETWORK,
        environ={"npm_config_cache": str(cache() / "npm")},
    )


def obtain_go(made: Path) -> None:
    environ = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -mod=mod", "GOTOOLCHAIN": "local"}
    environ |= {"GOMODCACHE": str(cache() / "go" / "mod"), "GOCACHE": str(cache() / "go" / "build")}
    run([needed("go", "golang"), "-C", made, "build", "-o", made / "talk", "."], todo=NETWORK, environ=environ)


def obtain_rust(made: Path) -> None:
    run(
        [needed("cargo", "cargo"), "build", "--quiet", "--manifest-path", made / "Cargo.toml"],
        todo=NETWORK,
        environ={"CARGO_HOME": str(cache() / "cargo"), "CARGO_TARGET_DIR": str(made / "target")},
    )


def obtain_java(made: Path) -> None:
    compiler = needed("javac", "default-jdk-headless")
    run([compiler, "-cp", pgjdbc(), "-d", made / "classes", made / "Talk.java"], todo="see what the compiler says")


CLIENTS: dict[str, Callable[[Path], None]] = {
    "go": obtain_go,
    "java": obtain_java,
    "node": obtain_node,
    "rust": obtain_rust,
}


def obtain(name: str) -> Path:
    """Its folder, made where it was not made from these very sources. Raises SetupError."""
    sources = [path for path in (SOURCES / name).rglob("*") if path.is_file()]
    made_from = digest(sources, *PGJDBC)
    with alone(f"client-{name}"):
        return _obtain(name, made_from)


def _obtain(name: str, made_from: str) -> Path:
    made, stamp = folder(name), folder(name) / "made-from"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
        return made
    began = time.monotonic()
    say("clients", f"obtaining and building the one for {name}")
    stamp.unlink(missing_ok=True)
    shutil.copytree(SOURCES / name, made, dirs_exist_ok=True)
    CLIENTS[name](made)
    stamp.write_text(made_from, encoding="utf-8")
    say("clients", f"{name} done in {time.monotonic() - began:.1f} s")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description="Obtain the clients that the tests play against the gateway.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CLIENTS)}; all when none is named")
    names = parser.parse_args().names or list(CLIENTS)
    os.chdir(ROOT)
    try:
        for name in names:
            if name not in CLIENTS:
                raise SetupError(f"there is no client {name!r}", f"name one of {', '.join(CLIENTS)}")
            obtain(name)
    except SetupError as error:
        print(f"clients: {error}\n         {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
