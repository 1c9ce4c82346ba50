"""`twokey policy`: OPA's own checks on the policies of the configuration, or on the shipped ones."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from decision.cli import config, opa
from decision.cli.errors import CliError

LEAST_COVERAGE = 95.0
TIMEOUT_S = 300

_FOLDER = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TWOKEY_CONFIG",
    help="Test the policies this configuration names. Without it: the shipped ones.",
)


@click.group()
def policy() -> None:
    """Test and check policies.

    \b
    Examples:
      twokey policy test
      twokey policy check -c twokey.yaml
    """


@policy.command()
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="OPA's coverage report as JSON.")
def test(config_path: Path | None, as_json: bool) -> None:
    """Run every test rule, and demand that the tests cover at least 95 % of the rules.

    \b
    Example: twokey policy test -c twokey.yaml
    """
    program, folder = opa.find(os.environ), _rego(config_path)
    schemas = _schemas(folder)
    ran = _run([str(program), "test", *_bundle(folder), *schemas, "--format=pretty"])
    if ran.returncode != 0:
        click.echo(ran.stdout + ran.stderr, err=True)
        raise CliError("policy tests failed", next_step="see above; `opa test -v` shows each one")
    measured = _run([str(program), "test", *_bundle(folder), *schemas, "--coverage", "--format=json"])
    try:
        report = json.loads(measured.stdout)
        covered = float(report["coverage"])
    except (ValueError, KeyError, TypeError):
        raise CliError(f"opa gave no coverage report: {measured.stderr.strip()[:400]}") from None
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(f"{ran.stdout.strip().splitlines()[-1]}; {covered:.1f} % of the rules' lines covered")
    if covered < LEAST_COVERAGE:
        for name, file in sorted(report.get("files", {}).items()):
            for gap in file.get("not_covered", []):
                click.echo(f"  not covered: {name}:{gap['start']['row']}-{gap['end']['row']}", err=True)
        raise CliError(
            f"coverage is {covered:.1f} %, below {LEAST_COVERAGE:.0f} %", next_step="test what is named above"
        )


@policy.command()
@_FOLDER
def check(config_path: Path | None) -> None:
    """Compile strictly, against the schema of the input: a misspelt field is an error here, not a silent rule later.

    \b
    Example: twokey policy check -c twokey.yaml
    """
    program, folder = opa.find(os.environ), _rego(config_path)
    done = _run([str(program), "check", "--strict", *_bundle(folder), *_schemas(folder)])
    if done.returncode != 0:
        click.echo(done.stdout + done.stderr, err=True)
        raise CliError("the policies do not compile", next_step="see above")
    click.echo(f"{folder} compiles")


def _rego(config_path: Path | None) -> Path:
    if config_path is None:
        return opa.shipped_rego()
    loaded = config.load(config_path)
    rego = loaded.config.policy.rego
    return loaded.absolute(rego) if rego is not None else opa.shipped_rego()


def _bundle(folder: Path) -> list[str]:
    """The Rego alone: policy data is loaded by the decision service under data.twokey.config, not as OPA would."""
    return [str(folder), "--ignore=schemas", "--ignore=*.yaml", "--ignore=*.yml"]


def _schemas(folder: Path) -> list[str]:
    schemas = folder / "schemas"
    return [f"--schema={schemas}"] if schemas.is_dir() else []


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError(f"opa did not run: {type(error).__name__}", next_step=opa.HOW_TO_GET_IT) from None
