"""Answers that policy allowed to be reused, for as long as nothing that could change them was seen (ADR 0007).

One table per worker, shared by its sessions. A lease's key is 32 bytes for the scope (subject, actor chain, role,
connection, the connection's DDL count, policy revision) followed by the operation's own lease key.

`version` changes with everything that ends leases. Who asks remembers it before asking, and an answer is stored only
if it is unchanged when the answer arrives: an answer overtaken by a revocation, a new revision, a DDL or the loss of
the revocation stream is used once and never kept.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cachetools import LRUCache

from enforcers.core.ports import Ruling

SILENCE = 3.0  # seconds without a word from the revocation stream after which nothing is served
MAX_LEASES = 16_384
MAX_TTL = 3600.0  # seconds; a longer lease is cut to this


@dataclass(frozen=True)
class Scope:
    """Whose leases: the identity and chain as (iss, sub), outermost actor first."""

    subject: tuple[str, str]
    actors: tuple[tuple[str, str], ...]
    role: str
    connection: str
    plan: str = ""  # that its sessions carry: nothing is leased to them, by the service's own answers


@dataclass
class _Lease:
    ruling: Ruling
    expires: float


class LeaseTable:
    """Bounded; the least recently used lease goes first. clock: monotonic seconds."""

    def __init__(self, *, size: int = MAX_LEASES, clock: Callable[[], float] = time.monotonic) -> None:
        self._leases: LRUCache[bytes, _Lease] = LRUCache(size)
        self._clock = clock
        self._alive_until = float("-inf")
        self._ddl: dict[str, int] = {}
        self.revision = ""
        self.version = 0  # of everything below
        self.stream = 0  # of the revocation stream: changes when news may have been missed

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def alive(self) -> bool:
        """News of revocations arrived within the last 3 s."""
        return self._clock() < self._alive_until

    @property
    def alive_until(self) -> float:
        return self._alive_until

    def heard(self, revision: str) -> None:
        """A message of the revocation stream arrived; revision is the live one."""
        now = self._clock()
        if now >= self._alive_until:
            self.lost()
        self._alive_until = now + SILENCE
        if revision != self.revision:
            self.revision = revision
            self.clear()

    def lost(self) -> None:
        """The stream broke or fell silent: news may have been missed."""
        self._alive_until = float("-inf")
        self.stream += 1
        self.clear()

    def clear(self) -> None:
        self._leases.clear()
        self.version += 1

    def drop_connection(self, connection: str) -> None:
        """A DDL was seen: the connection's leases become unreachable, and age out."""
        self._ddl[connection] = self._ddl.get(connection, 0) + 1
        self.version += 1

    def prefix(self, scope: Scope) -> bytes:
        """The 32 bytes every key of this scope starts with, under the present version."""
        parts: list[str] = [scope.role, scope.connection, self.revision, str(self._ddl.get(scope.connection, 0))]
        parts += scope.subject
        for actor in scope.actors:
            parts += actor
        if scope.plan:
            parts.append(scope.plan)  # one more: all others come in pairs
        return _digest(part.encode() for part in parts)

    def get(self, key: bytes) -> Ruling | None:
        """The hot path. key: prefix + the operation's lease key."""
        lease = self._leases.get(key)
        if lease is None:
            return None
        now = self._clock()
        if now < lease.expires and now < self._alive_until:
            return lease.ruling
        if now >= lease.expires:
            del self._leases[key]
        return None

    def store(self, key: bytes, ruling: Ruling, *, ttl: float, asked: float, version: int) -> bool:
        """Keep an answer for ttl seconds from when it was asked; version: `version` at that time."""
        if version != self.version or not self.alive or not ttl > 0:
            return False
        self._leases[key] = _Lease(ruling, asked + min(ttl, MAX_TTL))
        return True


def _digest(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over length-prefixed parts, so that no two lists of parts are one string."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
