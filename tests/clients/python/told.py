"""What a client's script prints: a line for each result and error, the same on either side for the same answers."""

from __future__ import annotations

import os
from pathlib import Path

SCHEMA = Path(__file__).resolve().parents[1] / "schema.sql"


def schema() -> str:
    return SCHEMA.read_text(encoding="utf-8")


def password() -> str:
    return os.environ["PGPASSWORD"]


def show(what: str, value: object) -> None:
    print(f"{what}: {value!r}", flush=True)  # noqa: T201 - that is what this program is for
