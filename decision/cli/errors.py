"""What goes wrong on the command line: one line, a next step, and an exit code that scripts can tell apart.

CliError              1   the thing asked for was refused or did not happen
├── ConfigError       3   a file of the configuration is wrong; says file, line, key and the fix
└── UnreachableError  4   nobody answers at the address
"""

from __future__ import annotations

from dataclasses import dataclass


class CliError(Exception):
    """`str(error)` is the line for people; it never holds a secret."""

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class UnreachableError(CliError):
    exit_code = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of one file. line counts from 1; 0 where the whole file is at fault."""

    file: str
    line: int
    key: str
    message: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{place}:{key} {self.message}{fix}"


class ConfigError(CliError):
    exit_code = 3

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
