"""The demo is a test: it checks each outcome itself, and fails when one differs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from decision.cli.demo.stack import Stack


@pytest.mark.e2e
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("story", "least"), [("roles", 30), ("plan", 15)])
def test_the_story_comes_out_as_told(story: str, least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "decision.cli.main", "demo", "--story", story],
        capture_output=True,
        text=True,
        timeout=170,
        env=Stack.base_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    found = re.search(r"(\d+) of (\d+) expectations met", done.stdout)
    assert found is not None
    assert found[1] == found[2]
    assert int(found[1]) >= least
    assert "\x1b" not in done.stdout  # plain in a pipe
