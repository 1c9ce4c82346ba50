"""sqlsmith, which writes random SQL for a server's own schema: `python -m tools.sqlsmith` prints the program's path.

Debian's package, for the generator of attacks (tests/corpus/smith.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import debian
from tools.setup import SetupError

PACKAGE = debian.Package("sqlsmith", "pqxx", "usr/bin/sqlsmith")


def obtain() -> tuple[Path, str]:
    """(the program, its LD_LIBRARY_PATH). Raises SetupError."""
    folder = PACKAGE.obtain()
    return PACKAGE.path(folder), debian.libraries(folder)


def main() -> int:
    try:
        print(obtain()[0])
    except SetupError as error:
        print(f"sqlsmith: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
