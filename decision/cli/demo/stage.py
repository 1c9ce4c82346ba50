"""What the demo prints, and what it checks while it does: every step says what it expects and whether it came so."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import click

from decision.cli.demo.stack import Stack
from decision.cli.errors import CliError

MOST_LINES = 12
Record = Mapping[str, object]


@dataclass(slots=True)
class Stage:
    """Prints in colour on a terminal, plainly in a pipe (click strips styles), and counts what went otherwise."""

    wrong: list[str] = field(default_factory=list)
    checked: int = 0

    def act(self, title: str) -> None:
        click.echo()
        click.secho(f"── {title} ".ljust(78, "─"), bold=True)

    def command(self, who: str, text: str) -> None:
        click.echo()
        click.echo(click.style(f"{who}> ", fg="cyan", bold=True) + text)

    def output(self, text: str, *, most: int = MOST_LINES) -> None:
        lines = text.strip("\n").splitlines()
        for line in lines[:most]:
            click.echo(f"    {line}")
        if len(lines) > most:
            click.secho(f"    … {len(lines) - most} more lines", dim=True)

    def decision(self, record: Record) -> None:
        outcome = str(record.get("outcome"))
        colour = {"allow": "green", "mask-columns": "yellow", "require-approval": "yellow"}.get(outcome, "red")
        rules = ", ".join(rules_of(record)) or "no rule"
        duties = ", ".join(obligations_of(record))
        line = (
            f"  ⇒ {outcome}" + click.style(f"  by {rules}", fg="reset") + (f"  obligations: {duties}" if duties else "")
        )
        click.secho(line, fg=colour)

    def note(self, text: str) -> None:
        click.secho(f"  {text}", dim=True)

    def expect(self, what: str, held: bool, *, instead: str = "") -> None:
        """One expectation. A false one is shown, remembered, and makes the demo fail."""
        self.checked += 1
        if held:
            click.secho(f"  ✓ {what}", fg="green")
            return
        self.wrong.append(what)
        click.secho(f"  ✗ {what}", fg="red", bold=True)
        if instead:
            self.output(instead)


def rules_of(record: Record) -> list[str]:
    reasons = record.get("reasons")
    return [str(item.get("rule")) for item in reasons if isinstance(item, dict)] if isinstance(reasons, list) else []


def obligations_of(record: Record) -> list[str]:
    items = record.get("obligations")
    return [str(item.get("type")) for item in items if isinstance(item, dict)] if isinstance(items, list) else []


class Trail:
    """The audit log as it grows: one `twokey audit tail -f` kept open beside the story."""

    def __init__(self, stack: Stack) -> None:
        token = stack.token("erin", "auditor")
        self._process = subprocess.Popen(
            [
                *stack.command(),
                "audit",
                "tail",
                "-n",
                "0",
                "-f",
                "--json",
                "-c",
                str(stack.config),
                "--token-file",
                "-",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            env=stack.base_environment(),
            text=True,
        )
        if self._process.stdin is None:
            raise CliError("the audit log can't be followed")
        self._process.stdin.write(token)
        self._process.stdin.close()
        self._records: list[Record] = []
        self._used: set[int] = set()
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def decision(self, statement: str, *, timeout_s: float = 10.0) -> Record:
        """The first decision on `statement` that was not given out before. Raises CliError when none comes.

        Of what an auditor isn't shown, the log tells the digest: that is what it is known by then."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                for place, record in enumerate(self._records):
                    if place not in self._used and record.get("kind") == "decision" and _is_of(record, statement):
                        self._used.add(place)
                        return record
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise CliError(f"the audit log never showed a decision on: {statement}")
                self._more.wait(min(left, 0.5))

    def denial(self, part: str, *, timeout_s: float = 10.0) -> Record:
        """As decision, of a statement that contains `part`."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                for place, record in enumerate(self._records):
                    fits = record.get("kind") == "decision" and part in _statement(record)
                    if place not in self._used and fits and record.get("outcome") == "deny":
                        self._used.add(place)
                        return record
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise CliError(f"the audit log never showed a denial of: {part}")
                self._more.wait(min(left, 0.5))

    def close(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        stream = self._process.stdout
        while stream is not None and (line := stream.readline()):
            with self._more:
                self._records.append(json.loads(line))
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


def _plain(statement: str) -> str:
    return statement.strip().rstrip(";").strip()


def _is_of(record: Record, statement: str) -> bool:
    wanted = _plain(statement)
    digests = {hashlib.sha256(text.encode()).hexdigest() for text in (wanted, f"{wanted};")}
    return _statement(record) == wanted or record.get("statement_sha256") in digests


def _statement(record: Record) -> str:
    value = record.get("statement")
    try:
        return _plain(base64.b64decode(value).decode()) if isinstance(value, str) else ""
    except ValueError:
        return ""


def paste(words: Sequence[str]) -> None:
    """A line to copy."""
    click.echo("    " + " ".join(words))
