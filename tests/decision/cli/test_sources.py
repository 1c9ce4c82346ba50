"""A source gives the secret or an error that does not show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from decision.cli import sources
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.located import Located
from decision.cli.schema import Source
from decision.cli.settings import Account, Config, Connection, People


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    connection = Connection(
        name="c",
        kind="postgres",
        environment="e",
        upstream="postgresql://h/d",
        credentials={"default": Account(user="u")},
    )
    return Loaded(
        tmp_path / "twokey.yaml", Config(people="p", connections=[connection]), People(), Located("twokey.yaml", {}, {})
    )


def test_all_three(loaded: Loaded) -> None:
    (loaded.root / "secret").write_text("from a file\n")
    program = loaded.root / "get"
    program.write_text("#!/bin/sh\necho from $1\n")
    program.chmod(0o755)
    assert sources.fetch(loaded, Source(env="E"), {"E": "from env"}) == "from env"
    assert sources.fetch(loaded, Source(file="secret"), {}) == "from a file"
    assert sources.fetch(loaded, Source(exec=["./get", "a program"]), {}) == "from a program"


@pytest.mark.parametrize(
    "source",
    [Source(env="NONE"), Source(file="none"), Source(exec=["./none"]), Source(exec=["false"]), Source(exec=["true"])],
)
def test_nothing_usable(loaded: Loaded, source: Source) -> None:
    with pytest.raises(CliError):
        sources.fetch(loaded, source, {})


def test_a_program_that_fails_does_not_show_what_it_said(loaded: Loaded) -> None:
    program = loaded.root / "get"
    program.write_text("#!/bin/sh\necho hunter2; echo hunter2 >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(CliError) as caught:
        sources.fetch(loaded, Source(exec=["./get"]), {})
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)
