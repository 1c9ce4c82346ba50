"""Becomes OPA, after asking the kernel to kill it when the decision service dies (prctl(2), PR_SET_PDEATHSIG).

Run as a file by a fresh interpreter (`python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT…`), because code between
fork and exec (preexec_fn) is unsafe in a process with gRPC's threads. Imports nothing of twokey.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the policy data and the TLS key
    os.umask(0o077)
    os.setsid()  # a terminal's Ctrl-C is for the service, which drains first
    # A question leaves a few hundred kilobytes of garbage beside little that stays: collect it less often. And half of
    # the processors: on few of them, Go's idle threads looking for work take more from those who ask than they give.
    half = max(1, (os.cpu_count() or 1) // 2)
    os.execve(  # noqa: S606 - a fixed program, given by the parent
        sys.argv[2], sys.argv[2:], {"GOGC": "400", "GOMAXPROCS": str(half)}
    )


if __name__ == "__main__":
    main()
