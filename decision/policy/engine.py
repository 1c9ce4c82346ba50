"""The policy engine: one generation (OPA, people, revision) in force, replaced whole or not at all.

A reload reads everything, lets OPA judge it, starts a second OPA with it, asks that one a question, and only then
makes it current, in one step without an await. Questions in flight finish on the generation they were put to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import orjson
import structlog

from decision.columns import ColumnName
from decision.errors import PolicyError, PolicyLoadError, PolicyUnavailableError, StoreError
from decision.identity.people import PeopleBook
from decision.identity.tasks import Tasks
from decision.model import JSON, PolicyResult
from decision.policy.bundle import LoadedPolicy, PolicySources, load_policy
from decision.policy.client import Answer
from decision.policy.opa_process import LocalOpa, OnEvent, Opa, OpaSettings, RemoteOpa
from decision.policy.result import check_result
from decision.policy.staging import check, engine_version
from decision.policy.watch import changed_dirs, changed_files

_DRAIN_S = 2.0  # a question has one second
Derived = Callable[[], Awaitable[Mapping[str, Mapping[str, str]]]]

_MAX_KNOWN = 8192  # bytes of an answer that is remembered
_PROBE: JSON = {"version": 1, "question": "probe"}

_log = structlog.get_logger("decision.policy")


@dataclass(slots=True)
class _Generation:
    policy: LoadedPolicy
    opa: Opa
    revision: str
    questions: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Engine:
    """Implements ports.PolicyEngine. Made by `start_engine`."""

    def __init__(
        self, sources: PolicySources, settings: OpaSettings, on_event: OnEvent, derived: Derived | None = None
    ) -> None:
        self._sources = sources
        self._settings = settings
        self._on_event = on_event
        self._derived = derived
        self._version = ""
        self._current: _Generation | None = None
        self._callbacks: list[Callable[[str], None]] = []
        self._vet: Callable[[LoadedPolicy], Awaitable[None]] | None = None
        self._reloading = asyncio.Lock()
        self._tasks = Tasks()
        self._retiring = Tasks()  # never cancelled: each of them still has a process to end
        self._closed = False

    @property
    def revision(self) -> str:
        return self._generation().revision

    @property
    def people(self) -> PeopleBook:
        return self._generation().policy.people

    @property
    def classified(self) -> Mapping[str, tuple[ColumnName, ...]]:
        """The columns that each connection's classification names."""
        return self._generation().policy.classified

    @property
    def policy(self) -> LoadedPolicy:
        return self._generation().policy

    @property
    def derived(self) -> int | None:
        """How many derived labels the policy in force was made with; None where it derives none."""
        policy = self._generation().policy
        return policy.derived if policy.derives else None

    def vetted_by(self, vet: Callable[[LoadedPolicy], Awaitable[None]]) -> None:
        """Asked about each policy before it takes the place of the one in force; it raises PolicyLoadError."""
        self._vet = vet

    @property
    def ready(self) -> bool:
        return self._current is not None and not self._closed and self._current.opa.ready

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Called with the new revision after each swap, on the event loop."""
        self._callbacks.append(callback)

    async def evaluate(self, document: JSON) -> PolicyResult:
        """One question. Raises PolicyError (unusable answer) or PolicyUnavailableError (none in time)."""
        if self._closed:
            raise PolicyUnavailableError("the policy engine is closed")
        generation = self._generation()
        with _counted(generation):
            answer = await generation.opa.ask(document)
        self._note_remote(generation, answer)
        return _read(answer, generation.revision, on_shape=_on_shape(document))

    @property
    def entrypoints(self) -> Mapping[str, str]:
        """Of resource types of other applications: the package that answers for each."""
        return self._generation().policy.entrypoints

    async def foreign(self, package: str, document: JSON) -> object:
        """What `package` decides, unchecked. Raises PolicyError, PolicyUnavailableError."""
        if self._closed:
            raise PolicyUnavailableError("the policy engine is closed")
        generation = self._generation()
        with _counted(generation):
            answer = await generation.opa.ask(document, package)
        self._note_remote(generation, answer)
        return answer.result

    async def reload(self) -> str:
        """Load everything again; the revision now in force. Raises PolicyLoadError: then the old policy stays."""
        async with self._reloading:
            try:
                policy = await self._load()
                if self._current is not None and policy.revision == self._current.policy.revision:
                    self._current.policy = policy  # it knows how many derived labels the store has by now
                    return self.revision
                if self._vet is not None:
                    await self._vet(policy)
                generation = await self._start(policy)
            except PolicyLoadError as error:
                _log.error("policy-refused", reason=str(error), stays=self._current and self._current.revision)
                self._on_event("policy-refused", {"reason": str(error)})
                raise
            if self._closed:
                await generation.opa.close()
                raise PolicyLoadError("the policy engine is closed")
            self._swap(generation)
            return generation.revision

    async def close(self) -> None:
        """Stop watching and end OPA. Idempotent."""
        self._closed = True
        await self._tasks.close()
        async with self._reloading:
            await self._retiring.join()
            if self._current is not None:
                await self._retire(self._current)

    async def begin(self, *, watch: bool) -> None:
        """The first load. Raises PolicyLoadError."""
        if self._settings.url is None:
            self._version = await engine_version(self._binary())
        await self.reload()
        if watch:
            self._watch(changed_dirs(self._sources.watched_dirs()), "watch-policy-folders")
            self._watch(changed_files(self._sources.watched_files()), "watch-policy-files")

    def _generation(self) -> _Generation:
        if self._current is None:
            raise PolicyUnavailableError("no policy is loaded")
        return self._current

    def _binary(self) -> Path:
        if self._settings.path is None:
            raise PolicyLoadError("opa.path is missing", next_step="install OPA 1.x and name it in opa.path")
        return self._settings.path

    async def _load(self) -> LoadedPolicy:
        try:
            derived = await self._derived() if self._derived is not None else {}
        except StoreError as error:
            raise PolicyLoadError(f"derived labels can't be read: {error}") from None
        policy = await asyncio.to_thread(load_policy, self._sources, engine_version=self._version, derived=derived)
        if self._settings.url is None:
            await check(policy, self._binary())
        return policy

    async def _start(self, policy: LoadedPolicy) -> _Generation:
        if self._settings.url is not None:
            remote = RemoteOpa(self._settings.url, self._settings.token, self._on_event)
            await remote.start()
            return _Generation(policy, remote, _with_remote(policy.revision, ""))
        local = await LocalOpa.start(self._binary(), policy, self._on_event)
        try:
            answer = await local.ask(_PROBE)
            check_result(answer.result, revision=policy.revision, on_shape=True)
        except (PolicyError, PolicyUnavailableError) as error:
            await local.close()
            raise PolicyLoadError(f"the policy does not answer: {error}") from None
        except BaseException:
            await local.close()
            raise
        return _Generation(policy, local, policy.revision)

    def _swap(self, generation: _Generation) -> None:
        old, self._current = self._current, generation
        _log.info("policy-loaded", revision=generation.revision)
        self._on_event("policy-loaded", {"revision": generation.revision})
        if old is not None:
            self._retiring.spawn(self._retire(old), name="retire-policy", failed=_nothing)
        self._tell(generation.revision)

    def _tell(self, revision: str) -> None:
        for callback in self._callbacks:
            callback(revision)

    async def _retire(self, generation: _Generation) -> None:
        """End a generation once its questions are answered."""
        try:
            if generation.questions:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_S):
                        await generation.idle.wait()
        finally:
            await generation.opa.close()

    def _note_remote(self, generation: _Generation, answer: Answer) -> None:
        """A remote OPA may change its bundle at any time: its answer names it, and the revision follows."""
        if self._settings.url is None:
            return
        revision = _with_remote(generation.policy.revision, answer.bundles)
        if revision != generation.revision:
            generation.revision = revision
            if generation is self._current:
                self._on_event("policy-loaded", {"revision": revision})
                self._tell(revision)

    def _watch(self, changes: AsyncIterator[None], name: str) -> None:
        def failed() -> None:
            self._on_event("policy-watch-failed", {"watch": name})

        self._tasks.spawn(self._follow(changes), name=name, failed=failed)

    async def _follow(self, changes: AsyncIterator[None]) -> None:
        async for _ in changes:
            with contextlib.suppress(PolicyLoadError):  # logged and reported by reload; the old policy stays
                await self.reload()


async def start_engine(
    sources: PolicySources,
    opa: OpaSettings,
    *,
    on_event: OnEvent | None = None,
    watch: bool = True,
    derived: Derived | None = None,
) -> Engine:
    """Load the policy, start OPA (or meet the remote one) and watch the files. Raises PolicyLoadError.

    derived: reads the labels that count beside the files' (ADR 23).
    """
    engine = Engine(sources, opa, on_event or _ignore, derived)
    try:
        await engine.begin(watch=watch)
    except BaseException:
        await engine.close()
        raise
    return engine


@contextlib.contextmanager
def _counted(generation: _Generation) -> Iterator[None]:
    generation.questions += 1
    generation.idle.clear()
    try:
        yield
    finally:
        generation.questions -= 1
        if not generation.questions:
            generation.idle.set()


def _read(answer: Answer, revision: str, *, on_shape: bool) -> PolicyResult:
    """The checked answer. Policy says the same to most questions, and what was found good once is good again."""
    if len(answer.content) > _MAX_KNOWN:
        return check_result(answer.result, revision=revision, on_shape=on_shape)
    return _known(answer.content, revision, on_shape)


@lru_cache(256)
def _known(content: bytes, revision: str, on_shape: bool) -> PolicyResult:
    return check_result(orjson.loads(content)["result"], revision=revision, on_shape=on_shape)


def _on_shape(document: JSON) -> bool:
    """A question holds values unless it says that it does not."""
    values = document.get("values")
    return isinstance(values, Mapping) and values.get("present") is False


def _with_remote(revision: str, bundles: str) -> str:
    return hashlib.sha256(f"{revision}\n{bundles}".encode()).hexdigest()


def _ignore(_name: str, _fields: Mapping[str, str]) -> None:
    """For callers without metrics; everything is logged where it happens."""


def _nothing() -> None:
    """Retiring failed: logged already, and the process is killed with its parent at the latest."""
