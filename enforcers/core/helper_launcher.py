"""Becomes a credential helper, after asking the kernel to kill it when the gateway dies (prctl(2), PR_SET_PDEATHSIG):
a helper that outlives its gateway would hold a credential that nobody waits for.

Run as a file by a fresh interpreter (`python -I -S helper_launcher.py PARENT_PID PROGRAM ARGUMENT…`), because code
between fork and exec (preexec_fn) is unsafe in a process with gRPC's threads. Imports nothing of twokey. No core dumps:
the limit is inherited from the gateway, and set here again.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_RUN = 126  # as of a shell: found, and it can't be run


def main() -> None:
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(CANNOT_RUN)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(CANNOT_RUN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    environment = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}  # Python's own (PEP 538)
    try:
        os.execve(sys.argv[2], sys.argv[2:], environment)  # noqa: S606 - the program that the configuration names
    except OSError:
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
