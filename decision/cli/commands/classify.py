"""`twokey classify`: what a person commits to the classification file. It writes no file itself."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from twokey.audit.v1 import audit_pb2, audit_pb2_grpc

from decision.cli import classification, client, config, derived, handover, options, reading, target_columns
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.options import Who
from decision.cli.settings import Connection
from decision.cli.suggest.sample import NOT_READ, Bounds, Sample, sample
from decision.cli.target_columns import TargetColumn
from decision.cli.words import nearest
from decision.columns import ColumnName
from decision.showing.escape import safe

if TYPE_CHECKING:
    from decision.cli.suggest.propose import Proposal

_LOG_S = 60.0


@click.group()
def classify() -> None:
    """Labels for columns.

    \b
    Example: twokey classify suggest crm | patch -p1
    """


@classify.command()
@click.argument("connection")
@options.config
@options.as_json
@click.option("--role", default="planner", show_default=True, help="The role whose account reads the target.")
@click.option("--rows", default=200, show_default=True, type=click.IntRange(0, 10_000), help="Of each table; 0: none.")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1, 3600), help="For all reading.")
@click.option("--check", is_flag=True, help="Exit code 1 when there is something to propose.")
def suggest(
    *, connection: str, config_path: Path, as_json: bool, role: str, rows: int, seconds: int, check: bool
) -> None:
    """Propose labels for the columns of CONNECTION, as a diff of its classification file for a person to commit.

    Looks at names, types and a few values of each table, in read-only transactions of the role's own account, not
    through the gateway. Prints counts, never values. Nothing is written.

    \b
    Examples:
      twokey classify suggest crm -c twokey.yaml
      twokey classify suggest crm | patch -p1
      twokey classify suggest crm --json --check
    """
    loaded = config.load(config_path)
    environ = handover.environment(loaded)
    found = _connection(loaded, connection)
    bounds = Bounds(rows=rows, seconds=float(seconds))
    proposals, left_out = asyncio.run(_proposals(loaded, found, role, bounds, environ))
    path = loaded.absolute(found.classification or f"{found.name}.classification.yaml")
    shown = os.path.relpath(path, loaded.root)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "connection": found.name,
                    "file": shown,
                    "proposals": [dataclasses.asdict(item) | {"column": str(item.column)} for item in proposals],
                    "not_sampled": {str(column): why for column, why in left_out.items()},
                }
            )
        )
    else:
        _print(path, shown, proposals, left_out, named=found.classification is not None)
    if check and proposals:
        raise CliError(f"{len(proposals)} columns without a label look as if they needed one")


@classify.command("derived")
@click.argument("connection")
@options.caller
@options.as_json
def derived_labels(*, connection: str, who: Who, as_json: bool) -> None:
    """Labels that new tables of CONNECTION inherited and its classification file lacks, as a diff to commit.

    Needs a token that may read the log.

    \b
    Example: twokey classify derived crm --token-file auditor.token | patch -p1
    """
    loaded = config.load(who.config_path)
    found = _connection(loaded, connection)
    if found.classification is None:
        raise CliError(f"{found.name} has no classification file", next_step="add `classification` to the connection")
    path = loaded.absolute(found.classification)
    shown = os.path.relpath(path, loaded.root)
    sharing = {other.name for other in loaded.config.postgres if other.classification == found.classification}
    with client.connect(who) as caller:
        stub = caller.stub(audit_pb2_grpc.AuditServiceStub)
        answers = stub.Read(audit_pb2.ReadRequest(start=0), metadata=caller.metadata, timeout=_LOG_S)
        every = derived.of_records((answer.record for answer in answers), frozenset(sharing))
    labels = derived.open_ones(every, classification.load(path, path.name))
    if as_json:
        items = [{"column": str(column), "label": label} for column, label in labels.items()]
        click.echo(json.dumps({"connection": found.name, "file": shown, "derived": items}))
    elif labels:
        click.echo(derived.unified(path.read_text(encoding="utf-8"), labels, shown), nl=False)
    else:
        click.echo("twokey: nothing derived that the file lacks", err=True)


def _print(path: Path, shown: str, proposals: list[Proposal], left_out: dict[ColumnName, str], *, named: bool) -> None:
    from decision.cli.suggest.diff import unified  # noqa: PLC0415 - needs the optional libraries

    before = path.read_text(encoding="utf-8") if path.exists() else None
    click.echo(unified(before, proposals, shown), nl=False)
    if left_out:
        reasons = sorted(set(left_out.values()))
        click.echo(f"twokey: {len(left_out)} columns were judged by name only: {safe('; '.join(reasons))}", err=True)
    if not proposals:
        click.echo("twokey: nothing to propose", err=True)
    elif not named:
        click.echo(f"twokey: add `classification: {shown}` to the connection", err=True)


def _connection(loaded: Loaded, name: str) -> Connection:
    for connection in loaded.config.postgres:
        if connection.name == name:
            return connection
    near = nearest(name, [connection.name for connection in loaded.config.postgres])
    raise CliError(
        f"no connection {name!r}", next_step=f"did you mean {near!r}?" if near else "name one of twokey.yaml"
    )


async def _proposals(
    loaded: Loaded, connection: Connection, role: str, bounds: Bounds, environ: Mapping[str, str]
) -> tuple[list[Proposal], dict[ColumnName, str]]:
    from decision.cli.suggest.propose import propose  # noqa: PLC0415 - needs the optional libraries

    entries: dict[ColumnName, str] = {}
    if connection.classification is not None:
        path = loaded.absolute(connection.classification)
        entries = {column: entry.label for column, entry in classification.load(path, path.name).entries.items()}
    account = reading.account_of(connection, role)
    proposals: list[Proposal] = []
    left_out: dict[ColumnName, str] = {}
    async with reading.reading(loaded, connection, account, environ, statement_s=bounds.statement_s) as link:
        try:
            columns = await target_columns.read(link)
        except reading.FAULTS as error:
            raise CliError(f"the target's catalog can't be read ({type(error).__name__})") from None
        wanted = without_label(columns, entries)
        samples = {} if bounds.rows == 0 else {name: one async for name, one in sample(link, wanted, bounds)}
    for column in wanted:
        one: Sample = samples.get(column.name, NOT_READ)
        if one.why_none:
            left_out[column.name] = one.why_none
        proposal = propose(column, one)
        if proposal is not None:
            proposals.append(proposal)
    return proposals, left_out


def without_label(columns: list[TargetColumn], entries: dict[ColumnName, str]) -> list[TargetColumn]:
    """Columns to judge: not labelled already, in the file, the catalog or by a parent; not a view's, whose columns are
    masked by where they come from; of a table and its partitions the table's only."""
    labelled = target_columns.with_kin(entries, columns)
    places = {(column.oid, column.name.column) for column in columns}
    return [
        column
        for column in columns
        if column.kind not in {"v", "m"}
        and column.name not in labelled
        and not any((parent, column.name.column) in places for parent in column.parents)
    ]
