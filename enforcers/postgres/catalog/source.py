"""The catalog of one target database, kept at most a second old while anyone uses it.

An own connection, apart from every session's: its questions run with an empty search_path, under the target's own
clock (statement_timeout) and ours. Each look asks what has changed since the last one and reads that (increment.py),
in one repeatable-read transaction, by statements that are prepared once. When the target can't be asked, `fresh` turns
false: nothing is described from a picture that may be wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from pglast import keywords

from enforcers.core.errors import UpstreamError
from enforcers.postgres.catalog.build import Row
from enforcers.postgres.catalog.increment import Known, Learnt, Question, Reading, Whole, changed, whole
from enforcers.postgres.catalog.queries import IDENTITY_QUERY, KEYWORDS_QUERY, OLDEST_SERVER, SERVER_QUERY
from enforcers.postgres.catalog.snapshot import Builtins, Catalog

Connect = Callable[[], Awaitable[asyncpg.Connection]]

FRESH_SECONDS = 1.0
REFRESH_SECONDS = 0.5
IDLE_SECONDS = 5.0  # the background refresher rests when nobody asked for so long
DEADLINE_SECONDS = 10.0
# asyncpg's InternalClientError is what a connection shows that died between two questions.
_FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_ATTEMPTS = 3
# A definition may vanish, or its relation be locked, between reading its row and printing it.
_MOVED = (
    asyncpg.UndefinedTableError,
    asyncpg.InternalServerError,
    asyncpg.UndefinedObjectError,
    asyncpg.LockNotAvailableError,
)
_BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SETTINGS = (
    "SELECT pg_catalog.set_config('search_path','',false),pg_catalog.set_config('statement_timeout','8000',false),"
    "pg_catalog.set_config('jit','off',false),"  # which on a large catalog takes longer than the questions
    "pg_catalog.set_config('plan_cache_mode','force_generic_plan',false),"  # and so does planning them each time
    # Below deadlock_timeout: where it and a session wait for each other, it is the catalog that gives way.
    "pg_catalog.set_config('lock_timeout','300',false),"
    "pg_catalog.set_config('default_transaction_read_only','on',false),pg_catalog.set_config('quote_all_identifiers','off',false)"
)
_CLASSES = (
    ("U", keywords.UNRESERVED_KEYWORDS),
    ("C", keywords.COL_NAME_KEYWORDS),
    ("T", keywords.TYPE_FUNC_NAME_KEYWORDS),
    ("R", keywords.RESERVED_KEYWORDS),
)


def differing_words(server: dict[str, str]) -> frozenset[str]:
    """Words whose class differs between the target (word -> catcode of pg_get_keywords) and the parser.

    A word that one side keeps unreserved and the other doesn't know is not one: an unreserved keyword stands wherever
    an identifier may, and what new syntax it opens is an error on the side that doesn't know it. Where one side
    has it as a function-like word (class C: `json(…)`) and the other as none, only a use before a parenthesis can
    mean two things: it is then listed with one, "json(".
    """
    ours = {word: code for code, words in _CLASSES for word in words}
    found = set()
    for word in ours.keys() | server.keys():
        classes = {ours.get(word, "U"), server.get(word, "U")}
        if len(classes) > 1:
            found.add(f"{word}(" if classes == {"C", "U"} else word)
    return frozenset(found)


class CatalogSource:
    """One target database's catalog. `start()` once, `run()` in a TaskGroup, `close()` at the end."""

    def __init__(self, connect: Connect, *, clock: Callable[[], float] = time.monotonic) -> None:
        """connect: opens a connection to the target database with the gateway's own credential; bounded in time."""
        self._connect = connect
        self._clock = clock
        self._connection: asyncpg.Connection | None = None
        self._prepared: dict[str, PreparedStatement] = {}  # on this connection, by their text
        self._catalog: Catalog | None = None  # of _known, which the hot path asks for
        self._known: Known | None = None
        self._builtins: Builtins | None = None
        self._words: frozenset[str] = frozenset()
        self._database = ""
        self._classified: frozenset[tuple[str, str, str]] = frozenset()
        self._version = 0  # server_version_num
        self._identity: tuple[Row, ...] = ()  # of the server and database that the snapshot was read from
        self._confirmed = float("-inf")  # when the last confirmed check began
        self._noted = float("-inf")  # when a DDL was last seen
        self._used = float("-inf")
        self._failures = 0
        self._retry_at = float("-inf")
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()

    @property
    def catalog(self) -> Catalog:
        """The last snapshot read; raises UpstreamError before the first."""
        self._touch()
        if self._catalog is None:
            raise UpstreamError("the target's catalog has not been read yet")
        return self._catalog

    @property
    def known(self) -> Known:
        """The last snapshot, and what tells whether it still holds; raises UpstreamError before the first."""
        self._touch()
        if self._known is None:
            raise UpstreamError("the target's catalog has not been read yet")
        return self._known

    @property
    def version(self) -> int:
        """Of the last snapshot read; 0 before the first. Asked for every act, so it counts as no use."""
        catalog = self._catalog
        return 0 if catalog is None else catalog.version

    def fresh(self) -> bool:
        """The snapshot was confirmed at most a second ago, and after the last DDL that was seen."""
        now = self._touch()
        return self._catalog is not None and self._confirmed > self._noted and now - self._confirmed <= FRESH_SECONDS

    def classify(self, columns: frozenset[tuple[str, str, str]]) -> None:
        """The columns (schema, relation, column) that the classification names from now on."""
        self._classified = columns
        if self._known is not None:
            self._take(self._known)

    def note_ddl(self) -> None:
        """Some session changed, or may have changed, the catalog: not fresh until asked again."""
        self._noted = self._clock()
        self._wake.set()

    async def start(self) -> None:
        """Connect and read. Raises UpstreamError."""
        await self.refresh()

    async def refresh(self) -> None:
        """Confirm or read again, now. Raises UpstreamError; then `fresh` is false.

        Callers at once share one check. Who finds it stale is content with the check that runs already, as long as
        that began after the last DDL seen; who finds it fresh wants to know what has happened since, so one that
        begins now.
        """
        asked = self._clock()
        stale = not self.fresh()
        async with self._lock:
            if self._confirmed > self._noted and (self._confirmed >= asked or (stale and self.fresh())):
                return
            if self._connection is None and self._clock() < self._retry_at:
                raise UpstreamError("the target's catalog can't be read; trying again shortly")
            failed: UpstreamError | None = None
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await self._check()
            except UpstreamError as error:
                failed = error
            except _FAULTS as error:
                failed = UpstreamError(f"the target's catalog can't be read ({type(error).__name__})")
                failed.__cause__ = error
            if failed is not None:
                await self._fail()
                raise failed
            self._failures = 0

    async def run(self) -> None:
        """Keep the snapshot fresh while it is used. Ends when cancelled."""
        while True:
            if self._clock() - self._used > IDLE_SECONDS:
                self._wake.clear()
                await self._wake.wait()
            self._wake.clear()
            try:
                await self.refresh()
                pause = REFRESH_SECONDS
            except UpstreamError:
                pause = max(self._retry_at - self._clock(), REFRESH_SECONDS)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def rest(self) -> None:
        """Nobody needs it for now: no connection to the database until somebody does."""
        async with self._lock:
            self._used = float("-inf")
            await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        self._prepared.clear()
        if connection is not None:
            connection.terminate()

    def _touch(self) -> float:
        """Someone uses it; what time it is."""
        now = self._clock()
        if now - self._used > IDLE_SECONDS:
            self._wake.set()
        self._used = now
        return now

    async def _fail(self) -> None:
        await self.close()
        self._confirmed = float("-inf")
        self._retry_at = self._clock() + _BACKOFF[min(self._failures, len(_BACKOFF) - 1)]
        self._failures += 1

    async def _check(self) -> None:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self._open()
        began = self._clock()
        await self._read(connection)
        self._confirmed = began

    async def _open(self) -> asyncpg.Connection:
        self._connection = connection = await self._connect()
        self._prepared.clear()
        await connection.fetch(_SETTINGS)
        version, self._database = map(str, (await self._rows(connection, SERVER_QUERY))[0])
        self._version = int(version)
        if self._version < OLDEST_SERVER:
            raise UpstreamError(
                f"the target is PostgreSQL {self._version // 10000}; the oldest that can be described is "
                f"{OLDEST_SERVER // 10000}"
            )
        server = await self._rows(connection, KEYWORDS_QUERY)
        self._words = differing_words({str(row[0]): str(row[1]) for row in server})
        identity = await self._rows(connection, IDENTITY_QUERY)
        if identity != self._identity:
            self._catalog_is_old()
            self._identity = identity
        return connection

    def _catalog_is_old(self) -> None:
        """Another server, or the same one started anew: read everything again."""
        self._known = None
        self._builtins = None

    async def _read(self, connection: asyncpg.Connection) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._take(await self._snapshot(connection))
            except _MOVED:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    async def _snapshot(self, connection: asyncpg.Connection) -> Known:
        """What there is at one moment. A connection that this leaves in any other way than by an answer is dropped:
        nobody waits for a ROLLBACK, least of all a task that is being cancelled."""
        usable = False
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            learned: Known | Exception
            try:
                learned = await self._learn(connection)
            except _MOVED as error:
                learned = error
            await connection.execute("ROLLBACK" if isinstance(learned, Exception) else "COMMIT")
            usable = True
            if isinstance(learned, Exception):
                raise learned
            return learned
        finally:
            if not usable:
                connection.terminate()

    def _take(self, known: Known) -> None:
        catalog = known.catalog
        if catalog.classified != self._classified:
            pins = self._known.catalog.pins if self._known is not None else {}  # none of another server's
            catalog = catalog.as_new().checked(self._classified, pins)
            known = replace(known, catalog=catalog)
        self._known, self._catalog, self._builtins = known, catalog, catalog.builtins

    async def _learn(self, connection: asyncpg.Connection) -> Known:
        """What there is now. From what is known where that goes, else whole."""
        builtins = self._builtins
        if self._known is not None:
            try:
                return await self._answer(connection, changed(self._known, self._version))
            except Whole as all_of_it:
                builtins = None if all_of_it.builtins else builtins
        reading = whole(self._version, database=self._database, words=self._words, builtins=builtins)
        return await self._answer(connection, reading)

    async def _answer(self, connection: asyncpg.Connection, reading: Reading[Learnt]) -> Learnt:
        """Ask what the reading wants to know, until it has learnt enough."""
        try:
            questions = next(reading)
            while True:
                questions = reading.send([await self._ask(connection, question) for question in questions])
        except StopIteration as end:
            learnt: Learnt = end.value
            return learnt

    async def _ask(self, connection: asyncpg.Connection, question: Question) -> tuple[Row, ...]:
        statement = self._prepared.get(question.sql)
        if statement is None:
            # By a name: else, without a cache, it is parsed and planned anew each time.
            name = f"twokey_{len(self._prepared)}"
            statement = self._prepared[question.sql] = await connection.prepare(question.sql, name=name)
        return tuple(tuple(row) for row in await statement.fetch(*question.parameters))

    async def _rows(self, connection: asyncpg.Connection, sql: str) -> tuple[Row, ...]:
        return tuple(tuple(row) for row in await connection.fetch(sql))
