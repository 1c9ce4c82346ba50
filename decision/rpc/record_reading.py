"""Records on their way to one reader: without what that reader may not see.

The intent of a leased act has no description of its own: it lies in the decision that carries the lease, some records
before it. Those that pass are remembered; for one that hasn't passed yet the log is read back once, as far as a lease
can reach as a rule. Where none is found the statement is hidden.
"""

from __future__ import annotations

from typing import Final

import orjson
from cachetools import LRUCache

from decision.audit import record
from decision.model import Subject
from decision.pdp.reading import JSONObject, Reading
from decision.ports import Recorder

_BACK: Final = 4096  # records
_DECISIONS: Final = 4096


class RecordReading:
    """For one call of Read."""

    def __init__(self, reading: Reading, log: Recorder, reader: Subject) -> None:
        self._reading = reading
        self._log = log
        self._reader = reader
        self._decisions: LRUCache[str, JSONObject] = LRUCache(_DECISIONS)
        self._looked_back = False

    async def payload(self, index: int, payload: bytes) -> bytes:
        """The record's bytes: its own where nothing is hidden."""
        found = orjson.loads(payload)
        self._remember(found)
        described = await self._described(index, found)
        shown = await self._reading.record(self._reader, found, described)
        return payload if shown is found else record.encode(shown)

    def _remember(self, found: JSONObject) -> None:
        told = found.get("input")
        if found.get("kind") == "decision" and isinstance(told, dict):
            self._decisions[str(found.get("decision"))] = {"operation": told["operation"], "resource": told["resource"]}

    async def _described(self, index: int, found: JSONObject) -> JSONObject | None:
        intent = found.get("intent")
        if not isinstance(intent, dict):
            return None
        decision = str(intent.get("decision"))
        if decision not in self._decisions and not self._looked_back:
            self._looked_back = True
            start = max(0, index - _BACK)
            async for _, earlier in self._log.read(start, index - start):
                if b'"kind":"decision"' in earlier:
                    self._remember(orjson.loads(earlier))
        return self._decisions.get(decision)
