"""Every `twokey` is hardened before it reads anything, and no process that only calls one."""

from __future__ import annotations

import ctypes
import resource
import sys

from click.testing import CliRunner

from decision.cli.demo.stack import Stack
from decision.cli.main import main
from tests.decision.cli.processes import seen_from_root


def test_the_program_hardens_itself() -> None:
    """Seen from outside, while it waits for standard input."""
    found = seen_from_root([*Stack.command(), "approvals", "list", "--token-file", "-"])
    assert found["core"] == ("0", "0")
    assert found["owner"] == 0


def test_who_calls_a_command_is_left_as_it_was() -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    CliRunner().invoke(main, ["--version"])
    assert resource.getrlimit(resource.RLIMIT_CORE) == before
    if sys.platform == "linux":
        assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1
