"""How hypothesis searches: the same on every machine, and for longer with `make fuzz`; and which PostgreSQL the tests
run on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from decision.cli.demo.postgres import VARIABLE, choose
from decision.cli.errors import CliError

_SERVERS = {"postgres", "stack", "own_stack"}  # fixtures

_BUSY = [HealthCheck.too_slow]  # a busy machine is no counterexample
settings.register_profile("suite", deadline=None, suppress_health_check=_BUSY)
settings.register_profile("fuzz", deadline=None, suppress_health_check=_BUSY, max_examples=5000)
settings.load_profile("suite")


# Files that take longest, the longest first: where files run side by side, none of these is the one all wait for.
_LONG = (
    "e2e/test_classification", "e2e/test_faults", "corpus/test_attacks",
    "enforcers/postgres/test_machine_conversations", "e2e/test_cli", "e2e/test_derived_labels",
    "rego/test_duties_mutation", "decision/test_app_duties", "decision/cli/test_supervisor", "e2e/test_holding",
    "e2e/test_sessions", "corpus/test_benign", "e2e/test_credential_canary", "e2e/test_races", "clients/test_talks",
    "e2e/test_faults_kills", "clients/test_tools", "e2e/test_faults_load", "decision/cli/commands/test_policy",
    "clients/test_sqlalchemy", "faults/test_conversations", "rego/test_properties", "decision/test_app_derived",
    "faults/test_silence", "e2e/test_many_holds",
)  # fmt: skip


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
    tests = Path(__file__).parent
    ranks = {tests / f"{name}.py": rank for rank, name in enumerate(_LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(_LONG)))


def pytest_report_header() -> str:
    return f"PostgreSQL: {os.environ[VARIABLE]}"
