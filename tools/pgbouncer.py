"""pgbouncer for the bench, where Debian's package can be had: `python -m tools.pgbouncer` prints the program's path."""

from __future__ import annotations

import sys
from pathlib import Path

from tools import debian
from tools.setup import SetupError

PACKAGE = debian.Package("pgbouncer", "c-ares|event", "usr/sbin/pgbouncer")
libraries = debian.libraries


def program(root: Path) -> Path:
    return PACKAGE.path(root)


def names() -> list[str]:
    return PACKAGE.names()


def obtain() -> Path:
    """The folder it is unpacked in. Raises SetupError."""
    return PACKAGE.obtain()


def main() -> int:
    try:
        print(program(obtain()))
    except SetupError as error:
        print(f"pgbouncer: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
