from __future__ import annotations

import pytest

from decision.identity.admission import host_of


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1:5", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1:5", "loopback"),
        ("127.9.9.9:5", "loopback"),
        ("[::1]:5", "loopback"),
        ("[2001:db8::1]:5", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[::ffff:10.0.0.1]:5", "10.0.0.1"),
        ("::ffff:127.0.0.1", "loopback"),
        ("unix", ""),
        ("", ""),
        ("example.com:5", ""),
    ],
)
def test_one_spelling_of_a_host(address: str, host: str) -> None:
    assert host_of(address) == host
