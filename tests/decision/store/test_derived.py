"""Derived labels on the real store: one a column, all or none, and still there after a restart."""

from __future__ import annotations

import pytest

from decision.errors import StateError
from decision.ports import DerivedLabel
from decision.store.engine import Store

EMAIL = DerivedLabel("crm", "public.recent.email", "email")


async def test_a_label_is_kept_once(store: Store) -> None:
    assert await store.derived.read() == {}
    await store.derived.add([EMAIL])
    await store.derived.add([EMAIL, DerivedLabel("other", "public.recent.email", "pan")])
    assert await store.derived.read() == {
        "crm": {"public.recent.email": "email"},
        "other": {"public.recent.email": "pan"},
    }
    assert await store.derived.count() == 2


async def test_a_column_has_one_label_and_what_is_refused_leaves_nothing(store: Store) -> None:
    await store.derived.add([EMAIL])
    with pytest.raises(StateError):
        await store.derived.add([DerivedLabel("crm", "public.new.x", "pan"), EMAIL._replace(label="pan")])
    assert await store.derived.read() == {"crm": {"public.recent.email": "email"}}
