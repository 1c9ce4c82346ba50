"""A statement and its values as a page shows them: nothing added, nothing hidden without saying so."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from twokey.type.v1 import operation_pb2

from decision.showing.escape import safe
from decision.showing.render import HEAD, TAIL
from decision.web import statement

TAG = re.compile(r"<[^>]*>")


def text(markup: Markup) -> str:
    """What a browser shows of it."""
    return str(Markup(TAG.sub("", markup)).unescape())


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>&'\"\u202e\x1b$-/*\n")), max_size=200))
def test_what_is_shown_is_the_text_with_every_deceptive_character_spelt(source: str) -> None:
    data = source.encode("utf-8", errors="surrogatepass")
    shown = statement.view(data, whole=False)
    assert text(shown.head) == safe(data.decode("utf-8", errors="backslashreplace"), lines=True)
    assert not re.findall(r"<(?!/?span[ >])", shown.head)


def test_head_and_tail_say_how_much_is_left_out_and_the_digest_of_all() -> None:
    data = b"SELECT 1 " + b" " * 20_000 + b"-- the end"
    shown = statement.view(data, whole=False)
    assert shown.cut
    assert len(text(shown.head)) == HEAD
    assert text(shown.tail).endswith("-- the end")
    assert len(text(shown.tail)) == TAIL
    assert shown.hidden == len(data) - HEAD - TAIL
    assert (shown.size, shown.digest) == (len(data), hashlib.sha256(data).hexdigest())
    whole = statement.view(data, whole=True)
    assert not whole.cut
    assert text(whole.head) == data.decode()


def test_more_than_a_page_holds_is_never_whole() -> None:
    data = b"x" * (statement.MAX_WHOLE + 1)
    shown = statement.view(data, whole=True)
    assert (shown.cut, shown.too_long) == (True, True)


def test_colours_are_given_and_odd_characters_keep_their_mark_inside_them() -> None:
    shown = statement.view("SELECT 'a\u202e' -- \u043e".encode(), whole=False).head
    assert '<span class="k">SELECT</span>' in shown
    assert '<span class="odd">\\u202e</span>' in shown
    assert '<span class="foreign">\u043e</span>' in shown


def test_a_strangers_line_end_is_one_only_where_lines_are_meant() -> None:
    assert statement.marked("a\nb", lines=False) == "a\\x0ab"
    assert statement.marked("a\nb") == "a\nb"


def test_a_value_that_is_long_is_cut_and_that_counts() -> None:
    values = [operation_pb2.BoundValue(type_oid=25, value=b"y" * 500 + b"; the end")]
    short, whole = statement.bound(values, whole=False), statement.bound(values, whole=True)
    assert (short.cut, whole.cut) == (True, False)
    assert "the end" not in short.lines[0]
    assert "the end" in whole.lines[0]
    assert not statement.bound([operation_pb2.BoundValue(type_oid=25, value=b"y")], whole=False).cut
    many = [operation_pb2.BoundValue(type_oid=25, value=b"y" * statement.MAX_WHOLE)] * 2
    assert (statement.bound(many, whole=True).cut, statement.bound(many, whole=True).too_long) == (True, True)
