"""A message is split into statements as PostgreSQL splits it: a property against the real parser and the real server.

Messages are made of pieces that lexers get wrong: strings of every kind, dollar quotes and dollars inside names, nested
comments, Unicode escapes, semicolons inside all of them. The server answers a message with one CommandComplete a
statement; the description must have as many, each one's own text must give the same result when it is sent alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcers.core.ports import Ruling
from enforcers.postgres import wire
from enforcers.postgres.catalog.source import CatalogSource
from enforcers.postgres.describe import Describer
from enforcers.postgres.description import Description, SessionNames, SyntaxProblem
from tests.enforcers.postgres.conftest import Postgres
from tests.enforcers.postgres.conversations import Frame, Live, hold, live, q, shown
from tests.enforcers.postgres.fakes import DENY, LEASED
from tests.enforcers.postgres.raw import Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSIDE = st.text(alphabet=st.sampled_from("a;b $'\"\\/*-+\n(),E1é"), max_size=8)
TAGS = st.sampled_from(["", "a", "tag", "é", "_1"])


def dollar(tag: str, inside: str) -> str:
    return f"${tag}${inside.replace('$', '')}${tag}$"


VALUES = st.one_of(
    INSIDE.map(lambda s: "'" + s.replace("'", "''") + "'"),
    INSIDE.map(lambda s: "E'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    INSIDE.map(lambda s: "e'" + s.replace("\\", "\\\\").replace("'", "''") + "\\x41\\u0042'"),
    INSIDE.map(lambda s: "U&'" + s.replace("\\", "\\\\").replace("'", "''") + "\\0041\\+000042'"),
    INSIDE.map(lambda s: "U&'" + s.replace("!", "").replace("'", "''") + "!0041' UESCAPE '!'"),
    st.tuples(TAGS, INSIDE).map(lambda item: dollar(*item)),
    st.sampled_from(
        [
            "1", "-1", "1.5e3", "B'01'", "X'1F'", "'a'\n'b;'", "'a' -- c;\n 'b'", "N'x;'", "1-- ;'\n", "2/* ; ' */",
            "$$;$$::text", "(SELECT ';')", "array[';', $a$;$a$]", "$a$ $a ; $b$ $a$",
        ]
    ),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["x", "a$b$", "é", "_$", "x1$$"]),
    INSIDE.map(lambda s: '"x' + s.replace('"', '""') + '"'),
    INSIDE.map(lambda s: 'U&"x' + s.replace("\\", "\\\\").replace('"', '""') + '\\003b"'),
)
COMMENTS = st.one_of(
    st.just(""),
    INSIDE.map(lambda s: "/*" + s.replace("*", "").replace("/", "") + "*/"),
    st.sampled_from(
        ["/* a /* b; */ ; */", "/*/**/*/", "--;'\n", "-- /* ;\n", " \t\n", "/* $$ */", "--\n;", "; ;", "/*'*/"]
    ),
)
STATEMENTS = st.tuples(COMMENTS, VALUES, NAMES, COMMENTS).map(lambda p: f"{p[0]}SELECT {p[1]} AS {p[2]} {p[3]}")
MESSAGES = st.tuples(st.lists(STATEMENTS, min_size=1, max_size=4), COMMENTS).map(lambda p: ";".join(p[0]) + p[1])
# Mostly broken: both sides must say so, and a denied part must not pass as another's comment or string.
SCRAPS = st.lists(
    st.sampled_from(
        [
            "'",
            '"',
            "$$",
            "$a$",
            "a$",
            ";",
            "--",
            "/*",
            "*/",
            "\n",
            "E'",
            "U&'",
            'U&"',
            "\\",
            "\\'",
            "''",
            "SELECT 1",
            "x",
            "é",
        ]
    ),
    max_size=12,
).map(lambda parts: "SELECT 'q' " + " ".join(parts))

NAMES_OF_SESSION = SessionNames(
    database="postgres", search_path=("pg_catalog", "public"), effective_role="postgres", session_role="postgres"
)


class Split:
    def __init__(self, catalog: CatalogSource, direct: Raw) -> None:
        self._catalog = catalog
        self._describer = Describer(64)
        self._direct = direct

    def described(self, text: str) -> list[Description] | SyntaxProblem:
        return self._describer.describe_message(text.encode(), catalog=self._catalog.catalog, names=NAMES_OF_SESSION)

    async def said(self, text: str | bytes) -> list[Frame]:
        return await hold(self._direct, [q(text)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def split(postgres: Postgres) -> AsyncIterator[Split]:
    catalog = CatalogSource(lambda: asyncpg.connect(postgres.dsn))
    await catalog.start()
    direct = await Raw.connect_to(postgres.port, user="postgres", database="postgres")
    yield Split(catalog, direct)
    direct.close()
    await catalog.close()


def results(frames: list[Frame]) -> list[list[object]]:
    """What each statement answered."""
    found: list[list[object]] = [[]]
    for kind, content in shown(frames):
        found[-1].append((kind, content))
        if kind == "C":
            found.append([])
    return found[:-1]


MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(text=MESSAGES)
async def test_each_statement_is_the_servers(split: Split, text: str) -> None:
    frames = await split.said(text)
    described = split.described(text)
    if any(kind == "E" for kind, _ in frames):
        # What the server can't read it doesn't split; what fails when it runs was split the same up to there.
        state = next(wire.parse_fields(raw)["C"] for kind, raw in frames if kind == "E")
        assert isinstance(described, SyntaxProblem) is (state == b"42601") or state in {b"22P02", b"22025", b"22P05"}
        return
    assert not isinstance(described, SyntaxProblem), text
    answered = results(frames)
    real = [item for item in described if "sql.empty" not in item.template.verbs]
    assert len(real) == len(answered), text
    for item, answer in zip(real, answered, strict=True):
        alone = results(await split.said(item.text))
        assert alone == [answer], (text, item.text)


@MANY
@given(text=SCRAPS)
async def test_what_one_refuses_the_other_refuses(split: Split, text: str) -> None:
    frames = await split.said(text)
    described = split.described(text)
    completed = sum(kind == "C" for kind, _ in frames)
    if isinstance(described, SyntaxProblem):
        assert completed == 0, text
    elif not any(kind == "E" for kind, _ in frames):
        real = [item for item in described if "sql.empty" not in item.template.verbs]
        assert len(real) == completed, text


HIDDEN = st.sampled_from(
    [
        "'{}'", "E'{}'", "$${}$$", "$a${}$a$", "/* {} */", "/* /* */ {} */", "-- {}\n", "{}", "U&'{}'", '"{}"',
        "E'\\'{}", "'\\'{}", "$a${}$b$", "a$$;{};$$", "a$b$;{}", "/* '{}' */", "'/*';{};'*/'", "--';\n{}",
        "U&'\\'{}", "U&'!'{}' UESCAPE '!'", "B'{}'", "e'\\\\';{}",
    ]
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(postgres: Postgres) -> AsyncIterator[Live]:
    """Denies by a statement's own beginning."""

    def policy(text: str) -> Ruling:
        return DENY if text.lstrip(" \n;").startswith("LISTEN") else LEASED

    async with live(postgres, policy) as one:
        yield one


@MANY
@given(before=MESSAGES, hiding=HIDDEN, after=st.sampled_from(["", ";", "; SELECT 1", "'", "*/", "\n;"]))
async def test_nothing_denied_hides_in_what_looks_harmless(guarded: Live, before: str, hiding: str, after: str) -> None:
    """Wherever a LISTEN is hidden, the target never runs it; where it only looks like one, it is a part of a value."""
    text = f"{before}; SELECT 1 AS x, {hiding.format('; LISTEN hidden;')}{after}"
    client = await guarded.client()
    try:
        await hold(client, [q(text), q("ROLLBACK")])
        frames = await hold(client, [q("SELECT count(*) FROM pg_listening_channels()")])
        assert [wire.parse_data_row(raw) for kind, raw in frames if kind == "D"] == [[b"0"]], text
    finally:
        client.close()
