"""What a process does to itself, seen from a process that did it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECK = """
import ctypes, resource
from enforcers.core.process import harden
libc = ctypes.CDLL(None)
before = libc.prctl(3, 0, 0, 0, 0)
harden()
print(before, libc.prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""

FILES = """
import resource
from enforcers.core.process import allow_descriptors
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
print(allow_descriptors() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(most, 1 << 20))
"""

ORPHAN = """
from enforcers.core.errors import SettingsError
from enforcers.core.process import end_with_parent
import os
end_with_parent(os.getppid())
try:
    end_with_parent(os.getpid())
except SettingsError as error:
    print(error)
"""


def run(program: str) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_core_dump_and_not_dumpable() -> None:
    assert run(CHECK) == "1 0 (0, 0)"


def test_as_many_files_as_the_user_may_have() -> None:
    assert run(FILES) == "True"


def test_a_worker_whose_supervisor_is_gone_does_not_start() -> None:
    assert run(ORPHAN) == "the supervisor is gone"
