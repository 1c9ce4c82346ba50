"""The obligation `classify`, which the decision service meets itself (ADR 23).

Labels are durable, and the policy that has them is in force, before the act is judged again and only then allowed: a
crash leaves a label on a name that nothing has, never a column without one. The record of the intent comes first, so
that no label is ever in force that the log, and so `twokey classify derived`, doesn't know of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from decision.columns import ColumnName, ColumnNameError, parse
from decision.errors import DecisionError, PolicyError, PolicyUnavailableError, StateError
from decision.identity.tasks import Tasks
from decision.model import JSON, Obligation
from decision.pdp.deadlines import stored
from decision.policy.result import ObligationType
from decision.ports import DerivedLabel, DerivedStore, Recorder


class Derives(Protocol):
    """What of the policy engine is needed."""

    @property
    def revision(self) -> str: ...

    @property
    def derived(self) -> int | None:
        """How many derived labels the policy in force was made with; None where it derives none."""

    async def reload(self) -> str: ...


class Derivation:
    def __init__(self, *, store: DerivedStore, engine: Derives, recorder: Recorder) -> None:
        self._store = store
        self._engine = engine
        self._recorder = recorder
        self._tasks = Tasks()

    async def close(self) -> None:
        """Ends what is under way: whoever waits for it is refused."""
        await self._tasks.close()

    async def caught_up(self) -> None:
        """What another replica derived counts here before anything is judged. Raises StoreError, PolicyLoadError."""
        known = self._engine.derived
        if known is not None and self._store.shared and await stored(self._store.count()) != known:
            await self._engine.reload()

    async def meet(self, obligations: Sequence[Obligation], connection: str, operation: str) -> None:
        """Where there is something to derive: does it, and raises StateError LABELS_DERIVED, since the act must be
        judged again under the new policy. Also raises PolicyError, PolicyLoadError, StoreError, RecordError."""
        labels = [
            label
            for obligation in obligations
            if obligation.type == ObligationType.CLASSIFY
            for label in _labels(obligation, connection)
        ]
        if not labels:
            return
        # A policy takes its time to load. Who asked may give up meanwhile; what has begun comes to its end all the
        # same, and so whoever asks again finds it done.
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.spawn(self._derive(labels, connection, operation, ended), name="derive", failed=_nothing)
        await asyncio.shield(ended)
        raise StateError("labels were derived: the act is judged again", code="LABELS_DERIVED")

    async def _derive(
        self, labels: Sequence[DerivedLabel], connection: str, operation: str, ended: asyncio.Future[None]
    ) -> None:
        about: JSON = {
            "reason": operation,
            "connection": connection,
            "columns": [{"column": label.name, "label": label.label} for label in labels],
        }
        try:
            await self._recorder.append("policy", {"event": "deriving", "revision": self._engine.revision, **about})
            try:
                await stored(self._store.add(labels))
            except StateError as error:
                refused = {"event": "derivation-refused", "revision": self._engine.revision, **about}
                await self._recorder.append("policy", {**refused, "refusal": str(error)})
                raise
            revision = await self._engine.reload()
            await self._recorder.append("policy", {"event": "derived", "revision": revision, **about})
            ended.set_result(None)
        except DecisionError as error:
            ended.set_exception(error)
        finally:
            if not ended.done():
                ended.set_exception(PolicyUnavailableError("the labels could not be derived; ask again"))


def _nothing() -> None:
    """Tasks logs it; who waits was told."""


def _labels(obligation: Obligation, connection: str) -> list[DerivedLabel]:
    columns = obligation.parameters["columns"]
    if not isinstance(columns, list):
        raise PolicyError("classify: its columns are no list")
    return [DerivedLabel(connection, _spelt(column), str(column["label"])) for column in columns]


def _spelt(column: dict[str, str]) -> str:
    name = str(ColumnName(column["schema"], column["relation"], column["column"]))
    try:
        return str(parse(name))
    except ColumnNameError as error:
        raise PolicyError(f"classify: {error}") from None
