"""Looks for a credential, in every form in which it could have got out, wherever a process tree could have left it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from tests.e2e.processes import as_root

LONGEST = 4096  # bytes: of what is looked for
LEAST = 12  # bytes: of a part of it that would be told by chance never
PART_BYTES = 64 << 20  # of a file, read at once
# Where nothing of a run's is written, and much is to be found: other folders of the repository's own tools.
PRUNED = {".venv", ".cache", ".git", "node_modules", "proc", "sys"}


@dataclass(frozen=True)
class Canary:
    """A target account's password; verifier as pg_authid keeps it, "" where the secret is nobody's password."""

    name: str
    text: str = field(repr=False)
    user: str = ""
    verifier: str = field(default="", repr=False)


def forms(canary: Canary) -> Mapping[str, bytes]:
    """By name, none shorter than LEAST."""
    raw = canary.text.encode()
    found = {
        "raw": raw,
        "its beginning": raw[:LEAST],
        "its end": raw[-LEAST:],
        "UTF-16": canary.text.encode("utf-16-le"),
        "JSON": json.dumps(canary.text).encode()[1:-1],
        "repr": repr(canary.text).encode()[1:-1],
        "URL": quote(canary.text, safe="").encode(),
        "URL of a form": quote_plus(canary.text).encode(),
        **_encoded("", raw),
        **_derived(canary),
    }
    assert all(LEAST <= len(form) <= LONGEST for form in found.values())
    return found


def _encoded(what: str, raw: bytes) -> dict[str, bytes]:
    """hex, and base64 at each of the three places where it may begin in a longer text."""
    found = {f"{what}hex": raw.hex().encode(), f"{what}HEX": raw.hex().upper().encode()}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw)
        # Without the characters that its neighbours have a part in.
        part = whole[(offset * 8 + 5) // 6 : (offset + len(raw)) * 8 // 6]
        found[f"{what}base64 at {offset}"] = part
        found[f"{what}base64url at {offset}"] = part.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def _derived(canary: Canary) -> dict[str, bytes]:
    """What knows as much as the password, or lets it be guessed: md5, and SCRAM's keys (RFC 5802, 3)."""
    found = {"md5": hashlib.md5((canary.text + canary.user).encode(), usedforsecurity=False).hexdigest().encode()}
    if not canary.verifier:
        return found
    _, given, keys = canary.verifier.split("$")
    iterations, salt = given.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", canary.text.encode(), base64.b64decode(salt), int(iterations))
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    kept = [base64.b64decode(key) for key in keys.split(":")]
    assert kept == [stored, server], "the verifier is another password's"
    named = {"SaltedPassword": salted, "ClientKey": client, "StoredKey": stored, "ServerKey": server}
    for name, key in named.items():
        found |= {name: key, **_encoded(f"{name} in ", key)}
    return found


def leaks(canaries: Iterable[Canary], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Every form of every canary that is anywhere."""
    wanted = [(canary.name, name, form) for canary in canaries for name, form in forms(canary).items()]
    return [f"{canary} ({form}) in {where}" for where, held in places for canary, form, wild in wanted if wild in held]


def files(roots: Iterable[Path], since: float, skipped: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file below, written since then (time.time()): its name and what it holds. Not a PostgreSQL's own."""
    left_out = {path.resolve() for path in skipped}
    todo = [root.resolve() for root in roots]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in left_out or path in seen:
            continue
        seen.add(path)
        try:
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_mtime >= since - 1:
                yield f"the name {path}", os.fsencode(path.name)
                yield from ((str(path), part) for part in _parts(path))
            elif stat.S_ISDIR(facts.st_mode) and path.name not in PRUNED and not (path / "PG_VERSION").exists():
                yield f"the name {path}", os.fsencode(path.name)
                todo += path.iterdir()
        except OSError:  # gone meanwhile, or not for us
            continue


def _parts(path: Path) -> Iterator[bytes]:
    """All of it, each part with the end of the one before, so that nothing is looked for in halves."""
    with path.open("rb") as file:
        end = b""
        while part := file.read(PART_BYTES):
            yield end + part
            end = part[-LONGEST:]


def processes(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """Command line, environment, name, and what they have open on disk, of each that lives."""
    for pid in pids:
        for name in ("cmdline", "environ", "comm"):
            try:
                yield f"{name} of {pid}", _read(Path(f"/proc/{pid}/{name}"))
            except (OSError, ProcessLookupError):
                continue


def _read(path: Path) -> bytes:
    """As root, where the process hides itself."""
    try:
        return path.read_bytes()
    except PermissionError:
        return as_root("cat", str(path)).encode()


def now() -> float:
    return time.time()
