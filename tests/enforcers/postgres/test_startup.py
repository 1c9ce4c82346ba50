"""Start-up: the allowlist, and what stands in front of a session."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import ProtocolError
from enforcers.postgres import wire
from enforcers.postgres.startup import (
    CancelRequested,
    RefusedStartupError,
    SslRequested,
    StartupFramer,
    StartupRequested,
)


def start(**parameters: str) -> StartupRequested:
    values = {"user": "planner", "database": "crm", **parameters}
    event = StartupFramer().feed(wire.startup_packet([(k.encode(), v.encode()) for k, v in values.items()]))
    assert isinstance(event, StartupRequested)
    return event


def test_allowed_parameters_go_upstream() -> None:
    event = start(application_name="psql", TimeZone="UTC", client_encoding="'utf-8'", options="-c DateStyle=ISO,\\ DMY")
    assert (event.user, event.database, event.plan) == ("planner", "crm", "")
    assert dict(event.settings) == {"application_name": "psql", "TimeZone": "UTC", "DateStyle": "ISO, DMY"}


def test_a_plan_travels_as_an_option() -> None:
    plan = "pln_" + "a" * 26
    event = start(options=f"-c twokey.plan={plan}")
    assert event.plan == plan
    assert event.settings == ()


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("options", "-c search_path=evil", "42501"),
        ("options", "-c role=postgres", "42501"),
        ("options", "--session_authorization=postgres", "42501"),
        ("options", "-c session-authorization=postgres", "42501"),
        ("options", "-e", "42501"),
        ("options", "-c DateStyle", "22023"),
        ("options", "-c twokey.plan=x", "22023"),
        ("search_path", "evil", "42501"),
        ("role", "postgres", "42501"),
        ("session_authorization", "postgres", "42501"),
        ("replication", "database", "0A000"),
        ("replication", "true", "0A000"),
        ("client_encoding", "LATIN1", "22023"),
        ("standard_conforming_strings", "off", "42501"),
        ("application_name", "x" * 2000, "22023"),
        ("user", "", "28000"),
    ],
)
def test_everything_else_is_refused(name: str, value: str, state: str) -> None:
    with pytest.raises(RefusedStartupError) as raised:
        start(**{name: value})
    assert raised.value.sqlstate == state


def test_a_parameter_given_twice_is_refused() -> None:
    packet = wire.startup_packet([(b"user", b"a"), (b"TimeZone", b"UTC"), (b"timezone", b"CET")])
    with pytest.raises(RefusedStartupError):
        StartupFramer().feed(packet)


def test_newer_minor_versions_and_extensions_are_negotiated_down() -> None:
    packet = bytearray(wire.startup_packet([(b"user", b"a"), (b"_pq_.x", b"1")]))
    packet[7] = 2
    event = StartupFramer().feed(bytes(packet))
    assert isinstance(event, StartupRequested)
    assert event.negotiation == wire.message(b"v", b"\0\3\0\0" + b"\0\0\0\1" + b"_pq_.x\0")
    assert start().negotiation == b""


def test_other_major_versions_are_refused() -> None:
    packet = bytearray(wire.startup_packet([(b"user", b"a")]))
    packet[5] = 2
    with pytest.raises(RefusedStartupError):
        StartupFramer().feed(bytes(packet))


def test_encryption_and_cancel_requests() -> None:
    assert isinstance(StartupFramer().feed(bytes.fromhex("0000000804d2162f")), SslRequested)
    assert isinstance(StartupFramer().feed(bytes.fromhex("0000000804d21630")), SslRequested)
    assert StartupFramer().feed(wire.cancel_request(7, b"abcd")) == CancelRequested(7, b"abcd")


@pytest.mark.parametrize("packet", [b"\0\0\0\x03", b"\x7f\xff\xff\xff", bytes.fromhex("0000000804d2162f") + b"x"])
def test_bad_lengths_and_stuffed_bytes(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        StartupFramer().feed(packet)


@given(st.binary(max_size=80))
def test_random_packets(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        StartupFramer().feed((len(data) + 8).to_bytes(4, "big") + b"\0\3\0\0" + data)
    with contextlib.suppress(ProtocolError):
        StartupFramer().feed(data)


@given(st.integers(1, 40))
def test_packets_in_pieces(size: int) -> None:
    packet = wire.startup_packet([(b"user", b"planner"), (b"database", b"crm")])
    framer = StartupFramer()
    events = [framer.feed(packet[i : i + size]) for i in range(0, len(packet), size)]
    assert [e for e in events if e is not None] == [StartupRequested(user="planner", database="crm")]
