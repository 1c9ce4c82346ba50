"""`twokey policy`: OPA's own checks on the policies of the configuration, or on the shipped ones."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from decision.cli import config, opa, staging
from decision.cli.errors import CliError

LEAST_COVERAGE = 95.0
TIMEOUT_S = 300
# Of one test: OPA's own 5 s are too few for the widest ones on a busy machine.
TEST_TIMEOUT = "120s"

_CONFIG = click.option(
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
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="OPA's coverage report as JSON.")
def test(*, config_path: Path | None, as_json: bool) -> None:
    """Run every test rule, and demand that the tests cover at least 95 % of the rules.

    \b
    Example: twokey policy test -c twokey.yaml
    """
    program = opa.find(os.environ)
    rego, data = _folders(config_path)
    with tempfile.TemporaryDirectory(prefix="twokey-policy-") as scratch:
        bundle = str(staging.stage(rego, data, Path(scratch)))
        command = [str(program), "test", f"--timeout={TEST_TIMEOUT}", "--bundle", bundle]
        command += _capabilities(rego)
        ran = _run([*command, "--format=pretty"])
        if ran.returncode != 0:
            click.echo((ran.stdout + ran.stderr).replace(scratch, str(rego)), err=True)
            raise CliError("policy tests failed", next_step="see above")
        measured = _run([*command, "--coverage", "--format=json"])
    try:
        report = json.loads(measured.stdout.replace(scratch, str(rego)))
        covered = float(report["coverage"])
    except (ValueError, KeyError, TypeError):
        raise CliError(f"opa gave no coverage report: {measured.stderr.strip()[:400]}") from None
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(f"{ran.stdout.strip().splitlines()[-1]}; {covered:.1f} % of the rules' lines covered")
    if covered < LEAST_COVERAGE:
        click.echo("\n".join(_gaps(report)), err=True)
        raise CliError(
            f"coverage is {covered:.1f} %, below {LEAST_COVERAGE:.0f} %", next_step="test what is named above"
        )


@policy.command()
@_CONFIG
def check(*, config_path: Path | None) -> None:
    """Compile strictly, against the schema of the input: a misspelt field is an error here, not a silent rule later.

    \b
    Example: twokey policy check -c twokey.yaml
    """
    program = opa.find(os.environ)
    rego, _ = _folders(config_path)
    schemas = [f"--schema={folder}" for folder in (rego / "schemas", opa.shipped_rego() / "schemas") if folder.is_dir()]
    ignored = ["--ignore=schemas", "--ignore=*.yaml", "--ignore=*.yml", "--ignore=capabilities.json"]
    done = _run([str(program), "check", "--strict", *schemas[:1], *_capabilities(rego), *ignored, str(rego)])
    if done.returncode != 0:
        click.echo(done.stdout + done.stderr, err=True)
        raise CliError("the policies do not compile", next_step="see above")
    click.echo(f"{rego} compiles")


def _gaps(report: Mapping[str, object]) -> list[str]:
    """file:first-last of every stretch of rules that no test reached."""
    files = report.get("files")
    lines: list[str] = []
    for name, file in sorted(files.items()) if isinstance(files, dict) else ():
        for gap in file.get("not_covered", []):
            lines.append(f"  not covered: {name}:{gap['start']['row']}-{gap['end']['row']}")
    return lines


def _folders(config_path: Path | None) -> tuple[Path, Path | None]:
    """The Rego, and the folder whose data files replace its own."""
    if config_path is None:
        return opa.shipped_rego(), None
    loaded = config.load(config_path)
    chosen = loaded.config.policy
    rego = loaded.absolute(chosen.rego) if chosen.rego is not None else opa.shipped_rego()
    return rego, loaded.absolute(chosen.data) if chosen.data is not None else None


def _capabilities(rego: Path) -> list[str]:
    """What policies may call: the folder's own list, else the shipped one. Never OPA's whole list."""
    own = rego / "capabilities.json"
    return [f"--capabilities={own if own.is_file() else opa.shipped_rego() / 'capabilities.json'}"]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError(f"opa did not run: {type(error).__name__}", next_step=opa.HOW_TO_GET_IT) from None
