"""Django's test runner on a sample app (shop/): it makes its own database, migrates, runs the app's tests, drops it.

The runner connects to three databases: the configured one, `postgres` to make and drop the test database, and that one.
Each is a connection of the gateway's, by its name; nothing is configured in Django for the gateway's sake.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.clients.heard import documented, heard
from tests.clients.recorder import difference
from tests.clients.stage import SIDES, Stage

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = re.compile(r"in \d+\.\d+s")

pytestmark = pytest.mark.timeout(400)  # of a busy machine


@pytest.mark.parametrize("binding", ["client", "server"])
def test_djangos_runner_is_told_the_same(stage: Stage, binding: str) -> None:
    stage.level()
    environment = {"DJANGO_SETTINGS_MODULE": "tests.clients.shop.settings", "SHOP_BINDING": binding}
    command = [sys.executable, "-m", "django", "test", "tests.clients.shop", "--noinput", "-v", "2"]
    direct, gateway = (stage.play(side, command, folder=ROOT, environment=environment) for side in SIDES)
    assert direct.status == 0, direct.stderr[-3000:]
    assert "Ran 8 tests" in direct.stderr
    assert "Destroying test database" in direct.stderr
    assert difference(direct.recording, gateway.recording) == ""
    told = documented((ROOT / "docs" / "clients.md").read_text(encoding="utf-8"))
    assert heard(direct.recording) == told[f"Django, {binding}-side binding"]
    assert gateway.status == 0
    assert _SECONDS.sub("", gateway.stdout + gateway.stderr) == _SECONDS.sub("", direct.stdout + direct.stderr)
