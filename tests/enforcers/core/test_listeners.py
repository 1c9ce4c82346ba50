"""One socket an address; shared ones by SO_REUSEPORT only."""

from __future__ import annotations

import pytest

from enforcers.core.errors import SettingsError
from enforcers.core.listeners import bind
from enforcers.settings import Address

ANY = Address("127.0.0.1", 0)


def test_connections_of_one_address_share_a_socket() -> None:
    listeners = bind({"crm": ANY, "erp": ANY}, shared=False)
    try:
        assert len(listeners.sockets) == 1
        assert listeners.addresses["crm"] == listeners.addresses["erp"]
        assert listeners.addresses["crm"].port != 0
        listeners.sockets[0].listen()
        for shared in (False, True):
            with pytest.raises(SettingsError, match="can't be bound"):
                bind({"crm": listeners.addresses["crm"]}, shared=shared).close()
    finally:
        listeners.close()


def test_workers_share_a_port() -> None:
    first = bind({"crm": ANY}, shared=True)
    second = bind({"crm": first.addresses["crm"]}, shared=True)
    assert first.addresses == second.addresses
    first.close()
    second.close()
