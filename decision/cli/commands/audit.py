"""`twokey audit`: reading the log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
from twokey.audit.v1 import audit_pb2, audit_pb2_grpc

from decision.cli import client, options, story
from decision.cli.errors import CliError
from decision.cli.options import Who
from decision.showing import render

TIMEOUT_S = 60.0


@click.group()
def audit() -> None:
    """Read the audit log.

    \b
    Examples:
      twokey audit tail -n 20 --token-file auditor.token
      twokey audit tail -f --json --token-file auditor.token
      twokey audit show op_… --token-file auditor.token
    """


@audit.command()
@click.option("-n", "--number", type=click.IntRange(min=0), default=10, show_default=True, help="Records; 0 is all.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@options.caller
@options.as_json
def tail(*, number: int, follow: bool, who: Who, as_json: bool) -> None:
    """The newest records.

    \b
    Example: twokey audit tail -f --json --token-file auditor.token | jq .outcome
    """
    request = audit_pb2.ReadRequest(start=-number if number else 0, follow=follow)
    with client.connect(who) as caller:
        for raw in _read(caller, request, None if follow else TIMEOUT_S):
            click.echo(_json(raw) if as_json else story.line(_record(raw)))


@audit.command()
@click.argument("operation")
@options.caller
@options.as_json
def show(*, operation: str, who: Who, as_json: bool) -> None:
    """The story of one act: who asked, for whom, in which role, what exactly, why, who approved, what came of it.

    \b
    Example: twokey audit show op_… --token-file auditor.token
    """
    with client.connect(who) as caller:
        records = list(_read(caller, audit_pb2.ReadRequest(operation=operation), TIMEOUT_S))
        if not as_json:
            records = sorted([*records, *_of_approvals(caller, records)], key=lambda raw: _index(_record(raw)))
    if not records:
        raise CliError(
            f"the log knows no operation {render.safe(operation)}", next_step="`twokey audit tail` shows ids"
        )
    lines = [_json(raw) for raw in records] if as_json else story.story(_record(raw) for raw in records)
    click.echo("\n".join(lines))


def _index(record: story.Record) -> int:
    index = record.get("index")
    return index if isinstance(index, int) else 0


def _of_approvals(caller: client.Caller, records: list[bytes]) -> list[bytes]:
    """The records of the approvals these records name: verdicts carry the approval's id, not the operation's."""
    known = {_index(_record(raw)) for raw in records}
    names = {story.text(_record(raw), "approval") for raw in records} - {""}
    if not names:
        return []
    start = min(known)
    found: list[bytes] = []
    for raw in _read(caller, audit_pb2.ReadRequest(start=start), TIMEOUT_S):
        record = _record(raw)
        if record.get("kind") == "approval" and record.get("approval") in names and _index(record) not in known:
            found.append(raw)
    return found


def _read(caller: client.Caller, request: audit_pb2.ReadRequest, timeout_s: float | None) -> Iterator[bytes]:
    stub = caller.stub(audit_pb2_grpc.AuditServiceStub)
    for response in stub.Read(request, metadata=caller.metadata, timeout=timeout_s):
        yield response.record


def _record(raw: bytes) -> story.Record:
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise CliError("the service sent a record that is no JSON object")
    return record


def _json(raw: bytes) -> str:
    """As it is in the log, but with non-ASCII characters escaped: a terminal obeys none of it."""
    return json.dumps(_record(raw), ensure_ascii=True, separators=(",", ":"))
