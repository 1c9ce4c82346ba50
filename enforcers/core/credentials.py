"""The target accounts' credentials: fetched when a session opens, refreshed before they expire, dropped with the last.

A credential is shared by the open sessions of one account of a connection, fetched by one at a time, and wiped when the
last of them closes. One that has an end is fetched again well before it, while sessions live; one that has none after
MAX_AGE, when next somebody opens. A helper that fails is left alone for a while, and what is still good goes on being
used until its end, never beyond. What can't be dropped: a variable can't be read again, so its value stays in the
gateway's memory (ADR 30).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import structlog

from enforcers.core.errors import CredentialError
from enforcers.core.sources import Fetched, fetch_credential
from enforcers.secret import Secret
from enforcers.settings import Account, Connection, ExecSource, Source

MAX_AGE = 60.0  # seconds after which a credential without an end is fetched again, so that a rotation is noticed
MOST_LIFETIME = 86_400.0  # of one that says it lives longer: a day's end is checked sooner than a year's
REFRESH_AT = 0.75  # of a lifetime
LEAST_PAUSE = 1.0  # seconds between two fetches of one account, whatever its credential says of its end
WRONG_FOR = 5.0  # seconds that one which the target refused is still given, after it was fetched
FIRST_BACKOFF = 0.5
LAST_BACKOFF = 30.0

Key = tuple[str, str]  # connection, and the account's name there: a role, or "default"
log = structlog.get_logger("twokey.enforcers.credentials")


def _now() -> float:
    """Seconds that go on while the machine sleeps: a credential grows old meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """chain: PEM, the account's own certificate first. key: PEM."""

    chain: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class _Held:
    secret: Secret
    fetched: float
    renew: float  # from when it is fetched again
    expires: float | None  # from when it is given to nobody


@dataclass(slots=True)
class _Slot:
    """What is known of one account. Holds a secret only while `sessions` is above 0."""

    account: Account
    where: str
    sessions: int = 0
    held: _Held | None = None
    failures: int = 0
    not_before: float = 0.0
    why: str = ""  # of the last failure, without a secret
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def drop(self) -> None:
        if self.held is not None:
            self.held.secret.wipe()
            self.held = None


class Credentials:
    """One per worker. `variables`: those that were handed over at the start."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        variables: Mapping[str, Secret] = MappingProxyType({}),
        *,
        now: Callable[[], float] = _now,
    ) -> None:
        self._connections = connections
        self._variables = variables
        self._now = now
        self._slots: dict[Key, _Slot] = {}
        self._changed = asyncio.Event()

    def opened(self, connection: str, role: str) -> None:
        slot = self._slot(connection, role)
        if slot is not None:
            slot.sessions += 1

    def closed(self, connection: str, role: str) -> None:
        slot = self._slot(connection, role)
        if slot is not None and slot.sessions:
            slot.sessions -= 1
            if slot.sessions == 0:
                slot.drop()

    async def get(self, connection: str, role: str) -> tuple[str, Secret]:
        """(user, password) of the role's account; the caller's own copy, to be wiped. Raises CredentialError."""
        slot = self._slot(connection, role)
        if slot is None:
            raise _unknown(connection, role, self._connections)
        source = slot.account.password
        if source is None:
            return slot.account.user, Secret("")
        async with slot.lock:
            held = slot.held
            if held is None or self._now() >= held.renew:
                held = await self._renewed(slot, source)
            copy = Secret(held.secret.reveal())
            _let_go(held, slot)
            return slot.account.user, copy

    def refused(self, connection: str, role: str) -> None:
        """By the target: what is held was changed there before its end. What was fetched just now is wrong at its
        source, and asking again at every log-in would only be load."""
        slot = self._slot(connection, role)
        if slot is not None and slot.held is not None and self._now() - slot.held.fetched >= WRONG_FOR:
            slot.drop()

    async def certificate(self, connection: str, role: str) -> ClientCertificate | None:
        """What the role's account shows the target in TLS; None where it has none. Raises CredentialError.

        Fetched at each log-in and kept by nobody here: it is used for the handshake only.
        """
        slot = self._slot(connection, role)
        if slot is None:
            raise _unknown(connection, role, self._connections)
        account = slot.account
        if account.certificate is None or account.key is None:
            return None
        where = f"certificate of {connection}, role {role}"
        try:
            chain = await asyncio.to_thread(Path(account.certificate).read_bytes)
        except OSError as error:
            raise CredentialError(f"{where}: the file can't be read ({error.strerror})") from None
        key = await fetch_credential(account.key, self._variables, f"key of {where}", lines=True, user=account.user)
        return ClientCertificate(chain, key.secret)

    async def run(self) -> None:
        """Refresh what is about to expire, and drop what has. Forever."""
        while True:
            self._changed.clear()
            due = [slot for slot in self._slots.values() if self._due(slot) <= self._now()]
            async with asyncio.TaskGroup() as group:  # side by side: one helper that hangs delays no other
                for slot in due:
                    group.create_task(self._refresh(slot))
            soonest = min((self._due(slot) for slot in self._slots.values()), default=float("inf"))
            wait = soonest - self._now()
            try:
                async with asyncio.timeout(None if wait == float("inf") else max(0.0, wait)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _due(self, slot: _Slot) -> float:
        """When something is to be done about it; never for what has no end or no session."""
        held = slot.held
        if held is None or held.expires is None:
            return float("inf")
        return min(max(held.renew, slot.not_before), held.expires)

    async def _refresh(self, slot: _Slot) -> None:
        source = slot.account.password
        async with slot.lock:
            held, now = slot.held, self._now()
            if source is None or held is None or self._due(slot) > now:
                return
            if now < max(held.renew, slot.not_before):  # it has ended, and it is too soon to ask again
                slot.drop()
                return
            with suppress(CredentialError):  # it was logged, and the next who opens a session is told
                _let_go(await self._renewed(slot, source), slot)

    async def _renewed(self, slot: _Slot, source: Source) -> _Held:
        """A new one, or where it can't be had the old one while it is good. The slot's lock is held."""
        good = self._good(slot)
        wait = slot.not_before - self._now()
        if wait > 0:
            if good is not None:
                return good
            slot.drop()
            raise CredentialError(f"{slot.why} (asked again in {wait:.0f} s)")
        try:
            fetched = await fetch_credential(source, self._variables, slot.where, user=slot.account.user)
        except CredentialError as error:
            self._failed(slot, source, error)
            good = self._good(slot)  # it may have ended meanwhile
            if good is None:
                slot.drop()
                raise
            return good
        slot.failures, slot.not_before, slot.why = 0, 0.0, ""
        held = self._held(fetched)
        if slot.sessions:
            slot.drop()
            slot.held = held
            self._changed.set()
        return held

    def _good(self, slot: _Slot) -> _Held | None:
        held = slot.held
        return held if held is not None and (held.expires is None or self._now() < held.expires) else None

    def _held(self, fetched: Fetched) -> _Held:
        now = self._now()
        if fetched.lifetime is None:
            return _Held(fetched.secret, now, now + MAX_AGE, None)
        lifetime = min(fetched.lifetime, MOST_LIFETIME)
        return _Held(fetched.secret, now, now + max(LEAST_PAUSE, lifetime * REFRESH_AT), now + lifetime)

    def _failed(self, slot: _Slot, source: Source, error: CredentialError) -> None:
        """Only a helper is left alone for a while: asking it costs, and may lock an account."""
        slot.failures += 1
        slot.why = str(error)
        if isinstance(source, ExecSource):
            pause = min(FIRST_BACKOFF * 2.0 ** min(slot.failures - 1, 16), LAST_BACKOFF)
            slot.not_before = self._now() + pause
        log.warning("credential not fetched", error=str(error), failures=slot.failures)

    def _slot(self, connection: str, role: str) -> _Slot | None:
        known = self._connections.get(connection)
        name = role if known is not None and role in known.credentials else "default"
        account = known.credentials.get(name) if known is not None else None
        if account is None:
            return None
        slot = self._slots.get((connection, name))
        if slot is None:
            slot = self._slots[connection, name] = _Slot(account, f"credential of {connection}, role {name}")
        return slot


def _let_go(held: _Held, slot: _Slot) -> None:
    """Wipe one that no session keeps."""
    if slot.held is not held:
        held.secret.wipe()


def _unknown(connection: str, role: str, connections: Mapping[str, Connection]) -> CredentialError:
    if connection not in connections:
        return CredentialError(f"no connection {connection!r}")
    return CredentialError(f"connection {connection}: no target account for role {role!r}; add credentials.{role}")
