"""`twokey duties`: how many principals each kind of act takes, and the matrix of roles and duties for auditors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from decision.cli import config, located, opa, output
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.separation import Row, Separation
from decision.showing.escape import safe


@click.command()
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TWOKEY_CONFIG",
    default=Path("twokey.yaml"),
    show_default=True,
    help="The configuration.",
)
@click.option("--plan", is_flag=True, help="The act is planned first, by another principal than who executes it.")
@click.option("--matrix", is_flag=True, help="Roles and their duties instead: x has it, ! conflicts with another one.")
@click.option("--check", is_flag=True, help="Fail where fewer principals do than `minimum` in duties.yaml demands.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def duties(*, config_path: Path, plan: bool, matrix: bool, check: bool, as_json: bool) -> None:
    """Count the principals that an act takes, from plan to approval to execution, with who they could be.

    It reads the policy data at its most permissive. Where duties.yaml assigns no roles, anybody in people.yaml could
    have any.

    \b
    Examples:
      twokey duties -c twokey.yaml
      twokey duties -c twokey.yaml --check
      twokey duties -c twokey.yaml --matrix
    """
    loaded = config.load(config_path)
    try:
        separation = _separation(loaded)
        rows = separation.rows(plan=plan)
        low = separation.too_few(rows)
        header, cells = separation.matrix()
    except (KeyError, TypeError, ValueError) as error:
        raise CliError(f"the policy data can't be counted: {error}", next_step="run `twokey policy check`") from None
    if as_json:
        _emit(rows, header, cells, dict(low))
    elif matrix:
        output.table(header, [[safe(cell) for cell in line] for line in cells])
    else:
        wide = [[row.connection, row.environment, row.duty, row.sentence] for row in rows]
        output.table(
            ["connection", "environment", "duty", "principals"], [[safe(cell) for cell in one] for one in wide]
        )
    if check and low:
        told = "; ".join(f"{row.connection} {row.duty}: {row.sentence}, not {least}".strip() for row, least in low)
        raise CliError(
            f"fewer principals than duties.yaml demands: {told}", next_step="assign roles, or hold such acts"
        )


def _separation(loaded: Loaded) -> Separation:
    chosen = loaded.config.policy
    rego = loaded.absolute(chosen.rego) if chosen.rego is not None else opa.shipped_rego()
    own = rego / "data"
    folders = [own if own.is_dir() else opa.shipped_rego() / "data"]
    if chosen.data is not None:
        folders.append(loaded.absolute(chosen.data))
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.y*ml"))}
    policy: Mapping[str, object] = {stem: located.load(path, str(path)).data for stem, path in files.items()}
    people = loaded.people.model_dump()
    return Separation(policy, people, [(one.name, one.environment) for one in loaded.config.connections])


def _emit(rows: list[Row], header: list[str], cells: list[list[str]], low: Mapping[Row, int]) -> None:
    document = {
        "duties": [
            {
                "connection": row.connection,
                "environment": row.environment,
                "duty": row.duty,
                "least": row.least,
                "witness": [{"phase": phase, "party": party} for phase, party in row.witness],
                "why": row.why,
                "demanded": low.get(row, 0),
            }
            for row in rows
        ],
        "matrix": [dict(zip(header, line, strict=True)) for line in cells],
    }
    click.echo(json.dumps(document))
