"""One connection's catalog as its sessions use it: started on first use, kept fresh by a task, shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import cast

import asyncpg
import structlog

from enforcers.core.credentials import ClientCertificate
from enforcers.core.errors import CredentialError, UpstreamError
from enforcers.core.supervise import Supervisor
from enforcers.postgres import describing
from enforcers.postgres.catalog.increment import Question, Reading, session_view
from enforcers.postgres.catalog.snapshot import Catalog
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.catalog.tainted import tainted
from enforcers.postgres.commands import EstimateRows, RowEstimate
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, SessionNames, SyntaxProblem
from enforcers.postgres.estimate import Estimator
from enforcers.postgres.machine_decide import NAMES_SQL, names_of
from enforcers.postgres.taint import Taint
from enforcers.postgres.target import Contexts, Target
from enforcers.postgres.upstream import CONNECT_SECONDS, SUBJECT
from enforcers.postgres.watched_login import WatchedLoop

log = structlog.get_logger(__name__)

# After the last session the gateway's own connections go too: else nobody could drop or rename the database. PostgreSQL
# waits five seconds for others to be gone.
LINGER_SECONDS = 1.0

Credential = Callable[[str], Awaitable[tuple[str, str]]]
Certificate = Callable[[str], Awaitable[ClientCertificate | None]]


class LiveDescriber(describing.Describer):
    """The machine's describer port over the live catalog."""

    def __init__(self, catalog: CatalogSource, describer: Describer) -> None:
        self._catalog = catalog
        self._describer = describer

    @property
    def version(self) -> int:
        return self._catalog.version

    @property
    def fresh(self) -> bool:
        return self._catalog.fresh()

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        return self._describer.describe_message(message, catalog=self._catalog.catalog, names=names)

    def private(self, names: SessionNames, taint: Taint, *, settled: bool) -> PrivateReading:
        reading = session_view(self._catalog.known, search_path=names.search_path)
        return PrivateReading(reading, self._describer, lambda found: tainted(found, taint, settled=settled))

    def invalidate(self) -> None:
        self._catalog.note_ddl()


class PrivateReading:
    """See describing.ViewReading."""

    def __init__(self, reading: Reading[Catalog], describer: Describer, finished: Callable[[Catalog], Catalog]) -> None:
        self._finished = finished
        self._reading = reading
        self._describer = describer
        self.view: PrivateView | None = None
        self.questions = _plain(next(reading))

    def answered(self, answers: Sequence[Sequence[Sequence[str | None]]]) -> None:
        try:
            self.questions = _plain(self._reading.send(answers))
        except StopIteration as end:
            self.questions = ()
            self.view = PrivateView(self._finished(end.value), self._describer)


def _plain(questions: Sequence[Question]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((question.sql, question.parameters) for question in questions)


class PrivateView:
    """One session's catalog (machine_private)."""

    def __init__(self, catalog: Catalog, describer: Describer) -> None:
        self._catalog = catalog
        self._describer = describer

    @property
    def version(self) -> int:
        return self._catalog.version

    def describe(self, message: bytes, names: SessionNames) -> Sequence[Description] | SyntaxProblem:
        return self._describer.describe_message(message, catalog=self._catalog, names=names)


class LiveSource:
    """See session.Source. `credential` gives a role's account, asked at each connect;
    catalog_role is the one whose account reads the catalog; masking_key is this connection's own."""

    def __init__(
        self,
        target: Target,
        credential: Credential,
        tasks: Supervisor,
        *,
        catalog_role: str,
        certificate: Certificate | None = None,
        masking_key: bytes | None = None,
    ) -> None:
        self.target = target
        self.masking_key = masking_key
        self.contexts = Contexts()
        self._credential = credential
        self._certificate = certificate
        self._tasks = tasks
        self._role = catalog_role
        self._estimator = Estimator(self.connect)
        self.catalog = CatalogSource(self.connect_catalog)
        self._describer = LiveDescriber(self.catalog, Describer())
        self._runner: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._sessions = 0
        self._leaving: asyncio.TimerHandle | None = None

    def entered(self) -> None:
        """A session is open; `left` when it is over."""
        self._sessions += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def left(self) -> None:
        self._sessions -= 1
        self._rest_soon()

    def _rest_soon(self) -> None:
        if self._sessions == 0:
            if self._leaving is not None:
                self._leaving.cancel()
            self._leaving = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._rest)

    def _rest(self) -> None:
        self._leaving = None
        self._tasks.spawn(self._resting(), name="catalog rests")

    async def _resting(self) -> None:
        if self._sessions == 0:
            await self._estimator.close()
            await self.catalog.rest()

    async def describer(self) -> LiveDescriber:
        async with self._starting:
            if not self.catalog.fresh():
                await self.catalog.refresh()
            if self._runner is None or self._runner.done():
                self._runner = self._tasks.spawn(self.catalog.run(), name="catalog")
        self._rest_soon()  # who asks may have no session (an explanation, a plan), or is about to
        return self._describer

    async def refresh(self) -> None:
        await self.catalog.refresh()

    async def estimate(self, wanted: EstimateRows, role: str) -> RowEstimate:
        found = await self._estimator.estimate(wanted.description, wanted.names, role=role, values=wanted.bound)
        return RowEstimate(found.rows, found.cost, found.why)

    async def connect_catalog(self) -> asyncpg.Connection:
        """As the account that reads the catalog."""
        return await self.connect(self._role)

    async def connect(self, role: str) -> asyncpg.Connection:
        """A connection of the gateway's own, with the role's account: for the catalog and for EXPLAIN."""
        target = self.target
        try:
            user, password = await self._credential(role)
            certificate = await self._certificate(role) if self._certificate is not None else None
            context = self.contexts.context(target, certificate) if target.encrypted else False
        except (CredentialError, UpstreamError) as error:
            # The catalog's callers know targets, not credentials; the sentence holds no secret.
            raise ConnectionError(str(error)) from error
        # Over TLS the target is asked for its certificate instead, and asyncpg's way into TLS can't be watched.
        watched = None if target.encrypted or target.accepts("password") else WatchedLoop(target.accepts)
        return await asyncpg.connect(
            loop=cast("asyncio.AbstractEventLoop | None", watched),
            host=target.host,
            port=target.port,
            database=target.database,
            user=user,
            password=password or None,
            ssl=context,
            direct_tls=target.direct,
            timeout=CONNECT_SECONDS,
            command_timeout=CONNECT_SECONDS,
            statement_cache_size=0,
            # Nobody's: that it is there is what row security needs to be planned.
            server_settings={SUBJECT: ""},
        )

    async def names(self, role: str, search_path: Sequence[str]) -> SessionNames:
        """How names resolve in a new session of this role; search_path, where given, is taken as it is.

        Raises UpstreamError.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self.connect(role)
                try:
                    row = await connection.fetchrow(NAMES_SQL)
                finally:
                    connection.terminate()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UpstreamError(f"the target can't be asked ({type(error).__name__})") from error
        names = names_of([str(value) for value in row.values()]) if row is not None else None
        if names is None:
            raise UpstreamError("the target did not say how names resolve")
        return replace(names, search_path=tuple(search_path)) if search_path else names

    async def close(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        if self._runner is not None:
            self._runner.cancel()
        await self._estimator.close()
        await self.catalog.close()
