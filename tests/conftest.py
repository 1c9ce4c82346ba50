"""How hypothesis searches: the same on every machine, and for longer with `make fuzz`; and which PostgreSQL the tests
run on."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from decision.cli.demo.postgres import VARIABLE, choose
from decision.cli.errors import CliError

_SERVERS = {"postgres", "stack", "own_stack"}  # fixtures

_BUSY = [HealthCheck.too_slow]  # a busy machine is no counterexample
settings.register_profile("suite", deadline=None, suppress_health_check=_BUSY)
settings.register_profile("fuzz", deadline=None, suppress_health_check=_BUSY, max_examples=5000)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        default=os.environ.get(VARIABLE) or "18",
        help=f"the PostgreSQL that tests run on: [package:|maven:|docker:]VERSION (else {VARIABLE}, else 18)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Everything that starts a server reads the variable, processes included. Ctrl-C reaches what tests start, also
    where a shell started the suite in its background and so has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.environ[VARIABLE] = str(choose(config.getoption("--postgres")))
    except CliError as error:
        raise pytest.UsageError(f"--postgres: {error}; {error.next_step}") from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m target` is what is worth running again on another version."""
    for item in items:
        path, fixtures = str(item.path), getattr(item, "fixturenames", ())
        on_server = _SERVERS & set(fixtures) or ("/enforcers/postgres/" in path and "server" in fixtures)
        if "/tests/e2e/" in path or on_server:
            item.add_marker(pytest.mark.target)


def pytest_report_header() -> str:
    return f"PostgreSQL: {os.environ[VARIABLE]}"
