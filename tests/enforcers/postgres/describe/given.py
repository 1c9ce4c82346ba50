"""Catalogs that a run brings along (tests/mutation), so that its tests of descriptions start no server of their own."""

from __future__ import annotations

from enforcers.postgres.catalog.snapshot import Catalog

CATALOGS: dict[str, Catalog] = {}  # "corpus", "lineage"; empty: each session of tests makes its own
