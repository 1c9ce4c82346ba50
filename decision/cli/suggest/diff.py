"""Proposals as a unified diff of the classification file, which `patch -p1` or `git apply` takes."""

from __future__ import annotations

from collections.abc import Iterable

from decision.cli import label_lines, located
from decision.cli.errors import CliError
from decision.cli.suggest.propose import Proposal


def unified(before: str | None, proposals: Iterable[Proposal], shown: str) -> str:
    """before: the file's text; None where there is none yet. "" when there is nothing to add.

    Raises CliError: lines can't be added to this file (it is no block of lines).
    """
    lines = [_line(proposal) for proposal in sorted(proposals, key=lambda item: item.column)]
    if not lines:
        return ""
    old = before or ""
    new = label_lines.added(old, "".join(lines))
    _check(old, new, len(lines), shown)
    return label_lines.unified(old, new, "/dev/null" if before is None else f"a/{shown}", f"b/{shown}")


def _line(proposal: Proposal) -> str:
    return (
        f"{label_lines.key(proposal.column)}: {proposal.label}  # suggested ({proposal.confidence}): {proposal.why}\n"
    )


def _check(old: str, new: str, added: int, shown: str) -> None:
    before, after = located.parse(old, shown).data, _parsed(new, shown)
    known = len(before) if isinstance(before, dict) else 0
    if not isinstance(after, dict) or len(after) != known + added:
        raise CliError(f"lines can't be added to {shown}", next_step="write it as lines of schema.table.column: label")


def _parsed(text: str, shown: str) -> object:
    try:
        return located.parse(text, shown).data
    except CliError:
        return None
