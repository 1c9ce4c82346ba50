"""What was in force when this service last recorded it, so that what came with a restart has an author too.

While a service runs, each new policy is compared with the one before. What changes while it is down (files, and what
only a start reads: issuers, their role maps, connections and their environments) would be nobody's: the former is kept
in a file of the state folder, which only the service's own account can write. It holds names, digests and accounts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from decision.errors import StateError
from decision.policy.bundle import Written

NAME: Final = "policy-in-force.json"
_MAX_BYTES: Final = 8 << 20


def read(folder: Path) -> Mapping[str, Written] | None:
    """None where nothing was in force before. Blocks. Raises StateError: a file that can't be read is no beginning."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        found = orjson.loads(data)["files"]
        return {str(name): Written(str(digest), str(owner)) for name, (digest, owner) in found.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StateError(
            f"{path} can't be read, so nobody can say what changed since",
            code="STATE",
            next_step="Remove it, if that is known otherwise: the start is then recorded without who changed what.",
        ) from None


def write(folder: Path, files: Mapping[str, Written]) -> None:
    """Whole or not at all. Blocks. Raises OSError."""
    path = folder / NAME
    fresh = path.with_name(f".{NAME}")
    text = orjson.dumps({"files": {name: [one.digest, one.owner] for name, one in files.items()}})
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
