"""Every change of what decides, recorded with who made it: while the service runs, and what came with its start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from decision.errors import RecordError, StoreError
from decision.identity.people import OS_ISSUER
from decision.model import IdentityKey
from decision.policy import inforce
from decision.policy.bundle import LoadedPolicy, Written, changed
from decision.ports import HistoryStore, Recorder

_EVENTS: Final = 1024
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    revision: str
    event: str
    reason: str = ""
    changed: Mapping[str, str] = field(default_factory=dict)  # file -> whose it is
    files: Mapping[str, Written] | None = None  # of a policy that came into force


class PolicyChanges:
    """Events are noted without waiting, and recorded by `run`. folder: where what is in force is kept for the next
    start."""

    def __init__(self, recorder: Recorder, history: HistoryStore, folder: Path) -> None:
        self._recorder = recorder
        self._history = history
        self._folder = folder
        self._events: asyncio.Queue[_Event] = asyncio.Queue(_EVENTS)
        self._policy: LoadedPolicy | None = None

    async def started(self, policy: LoadedPolicy, started: Mapping[str, object]) -> None:
        """The start and its policy, compared with what was in force before. Raises RecordError, StoreError, StateError:
        what was in force can't be read."""
        self._policy = policy
        former = await asyncio.to_thread(inforce.read, self._folder)
        since = {} if former is None else changed(former, policy.files)
        body, closures = self._told(_Event(policy.revision, "in-force", "start", since))
        await self._recorder.append_many([("started", dict(started)), ("policy", body)])
        await self._history.policy_changed(closures)
        await self._remember(policy.files)

    def in_force(self, policy: LoadedPolicy) -> None:
        before, self._policy = self._policy, policy
        since = {} if before is None else changed(before.files, policy.files)
        self._note(_Event(policy.revision, "in-force", changed=since, files=policy.files))

    def on_engine_event(self, name: str, fields: Mapping[str, str]) -> None:
        if name not in ("policy-loaded", "opa-started"):  # the first is `in_force`'s, the second changes nothing
            self._note(_Event(fields.get("revision", ""), name, fields.get("reason", "")[:4000]))

    async def run(self) -> None:
        while True:
            event = await self._events.get()
            body, closures = self._told(event)
            while True:
                try:
                    await self._recorder.append("policy", body)
                    await self._history.policy_changed(closures)
                    break
                except (RecordError, StoreError):  # the record once more rather than a change that nobody made
                    await asyncio.sleep(1.0)
            if event.files is not None:
                await self._remember(event.files)

    def _note(self, event: _Event) -> None:
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            _log.error("a policy event was not recorded", policy_event=event.event, revision=event.revision)

    def _told(self, event: _Event) -> tuple[dict[str, object], Sequence[Sequence[str]]]:
        """Its record, and the closures of whoever made it."""
        body: dict[str, object] = {"event": event.event, "revision": event.revision, "reason": event.reason}
        if not event.changed or self._policy is None:
            return body, ()
        people = self._policy.people
        by = {owner: people.closure(IdentityKey(OS_ISSUER, owner)) for owner in event.changed.values()}
        body["changed"] = [{"file": file, "owner": owner} for file, owner in event.changed.items()]
        body["by"] = sorted({element for closure in by.values() for element in closure})
        return body, list(by.values())

    async def _remember(self, files: Mapping[str, Written]) -> None:
        """What can't be kept is recorded again at the next start."""
        try:
            await asyncio.to_thread(inforce.write, self._folder, files)
        except OSError as error:
            _log.error("what is in force was not kept for the next start", reason=error.strerror)
