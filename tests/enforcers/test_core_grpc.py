"""gRPC as both processes configure it: read before its import, and known to the library that is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import os, sys

class Seen:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            sys.stdout.write(os.environ.get("GRPC_EXPERIMENTS", "") + "\\n")

sys.meta_path.insert(0, Seen())
import {package}.__main__
import asyncio, grpc

async def use():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(None)

asyncio.run(use())
"""


@pytest.mark.parametrize("package", ["decision", "enforcers"])
def test_the_setting_is_there_before_grpc_is_imported_and_every_name_in_it_is_known(package: str) -> None:
    script = CHECK.format(package=package)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "-event_engine_client" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""  # an unknown name is complained about


def test_what_the_operator_sets_stands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(package="decision")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"GRPC_EXPERIMENTS": "-no_such_name", "PATH": ""},
    )
    assert done.stdout == "-no_such_name\n"
    assert "no_such_name" in done.stderr
