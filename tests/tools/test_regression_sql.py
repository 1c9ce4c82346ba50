"""The regression suite's SQL is obtained once, from whatever source package apt offers."""

from __future__ import annotations

import pytest

from tools import regression_sql

SHOWN = """\
Package: postgresql-15
Binary: libpq5, postgresql-15
Version: 15.20-0+deb12u1

Package: postgresql-15
Version: 15.18-0+deb12u1

Package: postgresql-common
Version: 248

Package: postgresql-15
Version: 15.18-0+deb12u1
"""


def test_binary_entries_become_source_entries_in_both_formats() -> None:
    assert regression_sql.source_entries("deb http://x/debian bookworm main\n# deb old\n") == (
        "deb-src http://x/debian bookworm main\n# deb old\n"
    )
    assert regression_sql.source_entries("Types: deb\nURIs: http://x/debian\n") == (
        "Types: deb-src\nURIs: http://x/debian\n"
    )


def test_each_offered_version_is_tried_once_in_order() -> None:
    assert regression_sql.versions(SHOWN) == [
        ("postgresql-15", "15.20-0+deb12u1"),
        ("postgresql-15", "15.18-0+deb12u1"),
    ]


def test_what_is_there_is_not_obtained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sql = regression_sql.obtain()
    monkeypatch.setattr(regression_sql, "run", None)
    assert regression_sql.obtain() == sql
    assert (sql / "select.sql").exists()
    assert regression_sql.made_from().startswith("postgresql-")
