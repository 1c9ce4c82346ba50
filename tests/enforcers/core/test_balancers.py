"""PROXY protocol v2: only what the specification allows, only from whom the configuration lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.balancers import HEADER_BYTES, SIGNATURE, Balancers, rest_length, source
from enforcers.core.errors import ProtocolError, SettingsError


@pytest.mark.parametrize(
    ("networks", "host", "listed"),
    [
        ((), "127.0.0.1", False),
        (("10.0.0.0/24",), "10.0.0.7", True),
        (("10.0.0.0/24",), "10.0.1.7", False),
        (("10.0.0.7",), "10.0.0.7", True),
        (("10.0.0.0/24",), "::ffff:10.0.0.7", True),  # how a dual-stack listener sees it
        (("fd00::/8",), "fd00::1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("0.0.0.0/0",), "::1", False),
        (("10.0.0.0/24",), "unix", False),
        (("10.0.0.0/24",), "", False),
    ],
)
def test_who_is_listed(networks: tuple[str, ...], host: str, listed: bool) -> None:
    assert Balancers(networks).lists(host) is listed
    assert bool(Balancers(networks)) is bool(networks)


@pytest.mark.parametrize("network", ["10.0.0.1/24", "lb.example", "10.0.0.0/33", ""])
def test_what_is_no_network(network: str) -> None:
    with pytest.raises(SettingsError):
        Balancers([network])


@given(st.binary(max_size=HEADER_BYTES + 2), st.binary(max_size=64), st.booleans())
def test_random_headers(head: bytes, rest: bytes, signed: bool) -> None:
    header = (SIGNATURE + head)[:HEADER_BYTES] if signed else head
    with contextlib.suppress(ProtocolError):
        assert 0 <= rest_length(header) <= 4096
        found = source(header, rest)
        assert found is None or 0 <= found[1] <= 65535
