"""OpenSSH's server for the tests, as Debian's package: `python -m tools.openssh` prints the program's path.

With nss_wrapper beside it, a sshd that isn't root's finds the one user that a test makes up.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools import debian
from tools.setup import SetupError

PACKAGE = debian.Package(
    "openssh-server", "wrap|nsl|tirpc", "usr/sbin/sshd", shows="-V", beside=("libnss-wrapper", "openssh-client")
)


def obtain() -> Path:
    """The folder it is unpacked in. Raises SetupError."""
    return PACKAGE.obtain()


def tool(name: str) -> str:
    """ssh or ssh-keygen: this machine's own, else the one that was fetched with the server. Raises SetupError."""
    return shutil.which(name) or str(obtain() / "usr" / "bin" / name)


def main() -> int:
    try:
        print(PACKAGE.path(obtain()))
    except SetupError as error:
        print(f"openssh: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
