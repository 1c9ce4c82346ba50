"""A statement as HTML: coloured, every deceptive character marked, nothing left out without saying so.

The colours come from Pygments' lexer of PostgreSQL's SQL. They are decoration: the text is put together again from what
the lexer gives, and where that is not the text itself, it is shown without colours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from markupsafe import Markup, escape
from pygments.lexers.sql import PostgresLexer
from pygments.token import STANDARD_TYPES, _TokenType
from twokey.type.v1 import operation_pb2

from decision.showing import render
from decision.showing.escape import safe
from decision.showing.render import HEAD, TAIL

MAX_WHOLE: Final = 1 << 20  # bytes that one page shows at most; what is longer is not approved here
MAX_COLOURED: Final = 16_000  # characters
_Token: TypeAlias = tuple[int, _TokenType, str]  # where, what, the text
_PLAIN: Final = re.compile(r"[ -~\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """cut: something is not shown, `hidden` characters of it. too_long: it can't be shown here at all."""

    head: Markup
    tail: Markup
    cut: bool
    hidden: int
    size: int
    digest: str
    too_long: bool
    lines: int


def view(data: bytes, *, whole: bool) -> View:
    """`whole`: all of it, as far as a page goes; else head and tail of what is long."""
    text = data.decode("utf-8", errors="backslashreplace")
    too_long = len(data) > MAX_WHOLE
    cut = len(text) > HEAD + TAIL and (not whole or too_long)
    return View(
        head=_coloured(text[:HEAD] if cut else text),
        tail=marked(text[-TAIL:]) if cut else Markup(),
        cut=cut,
        hidden=len(text) - HEAD - TAIL if cut else 0,
        size=len(data),
        digest=hashlib.sha256(data).hexdigest(),
        too_long=too_long,
        lines=text.count("\n") + 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The values, one line each; cut and too_long as for a statement: they are as much of the act as its text."""

    lines: Sequence[str]
    cut: bool
    too_long: bool


def bound(values: Sequence[operation_pb2.BoundValue], *, whole: bool) -> Bound:
    """`whole`: all of each, as far as a page goes."""
    short = render.bound(values)
    if sum(len(one.value) for one in values) > MAX_WHOLE:
        return Bound(lines=short, cut=True, too_long=True)
    every = render.bound(values, whole=True)
    return Bound(lines=every if whole else short, cut=not whole and every != short, too_long=False)


def marked(text: str, *, lines: bool = True) -> Markup:
    """Escaped for HTML; what is not what it looks like as its number, in a span of its own."""
    parts: list[Markup] = []
    at = 0
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain is not None:
            run = plain[0]
            parts.append(escape(run if lines else run.replace("\n", "\\x0a")))
            at = plain.end()
            continue
        following = _PLAIN.search(text, at)
        end = following.start() if following is not None else len(text)
        parts.append(_odd(text[at:end]))
        at = end
    return Markup().join(parts)


def _odd(text: str) -> Markup:
    """A run without plain characters: letters of other scripts as they are, everything deceptive marked."""
    parts: list[Markup] = []
    deceptive: list[str] = []
    for character in text:
        shown = safe(character)
        if shown != character:
            deceptive.append(shown)
            continue
        if deceptive:
            parts.append(_span(deceptive))
            deceptive = []
        parts.append(Markup('<span class="foreign">{}</span>').format(character))
    if deceptive:
        parts.append(_span(deceptive))
    return Markup().join(parts)


def _span(shown: list[str]) -> Markup:
    return Markup('<span class="odd">{}</span>').format("".join(shown))


def _coloured(text: str) -> Markup:
    if len(text) > MAX_COLOURED:
        return marked(text)
    tokens: Callable[[str], Iterable[_Token]] = PostgresLexer().get_tokens_unprocessed
    found = [(kind, word) for _, kind, word in tokens(text)]
    if "".join(word for _, word in found) != text:
        return marked(text)
    parts: list[Markup] = []
    for kind, word in found:
        name = STANDARD_TYPES.get(kind, "")
        inner = marked(word)
        parts.append(Markup('<span class="{}">{}</span>').format(name, inner) if name not in {"", "w"} else inner)
    return Markup().join(parts)
