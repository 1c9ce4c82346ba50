"""Every command explains itself with an example, and a mistyped one is recognised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from decision.cli.main import COMMANDS, main


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"twokey {' '.join(path)}" in result.output


@pytest.mark.parametrize("later", ["catalog", "replay", "kubectl-credential"])
def test_what_is_not_built_is_not_there(later: str) -> None:
    assert later not in COMMANDS
    assert CliRunner().invoke(main, [later]).exit_code == 2


def test_a_mistyped_command_is_recognised() -> None:
    result = CliRunner().invoke(main, ["aprovals"])
    assert result.exit_code == 2
    assert "did you mean 'approvals'?" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_TWOKEY_COMPLETE" in result.output


def test_a_missing_configuration_is_exit_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["token", "--subject", "bob"])
    assert result.exit_code == 3
    assert result.output == "twokey: twokey.yaml: no such file; write it, or name another one\n"
