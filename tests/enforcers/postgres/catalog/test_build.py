"""Rows into objects: settings, arrays, and mappings in the order of their keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.postgres.catalog.build import _more_set, names, patched


@pytest.mark.parametrize(
    ("config", "more"),
    [((), False), (("search_path=a",), False), (("search_path=a", "twokey.subject=b"), True), (("work_mem=1",), True)],
)
def test_what_a_function_sets_besides_its_search_path(config: tuple[str, ...], more: bool) -> None:
    assert _more_set(config) is more


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ()),
        ("{}", ()),
        ("{a,b}", ("a", "b")),
        ('{"search_path=a, \\"B\\"",x}', ('search_path=a, "B"', "x")),
        ('{"",x}', ("", "x")),
    ],
)
def test_text_arrays(text: str | None, expected: tuple[str, ...]) -> None:
    assert names(text) == expected


_OIDS = st.integers(1, 40)


@given(st.dictionaries(_OIDS, st.integers()), st.dictionaries(_OIDS, st.none() | st.integers()))
def test_a_patched_mapping_is_as_if_made_anew(old: dict[int, int], changes: dict[int, int | None]) -> None:
    ordered = dict(sorted(old.items()))
    expected = {key: value for key, value in sorted((ordered | changes).items()) if value is not None}
    found = patched(ordered, changes)
    assert list(found.items()) == list(expected.items())
    assert list(ordered.items()) == sorted(old.items())
