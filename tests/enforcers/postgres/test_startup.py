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
    Encryption,
    RefusedStartupError,
    StartupFramer,
    StartupRequested,
    encryption,
    is_direct_tls,
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


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-c DateStyle=ISO,\\ DMY", {"DateStyle": "ISO, DMY"}),
        ("-cjit=off --client-min-messages=log", {"jit": "off", "client_min_messages": "log"}),
        (" \t\n-c  \v\f\r jit=off ", {"jit": "off"}),
        ("-c application_name=a\\\\b", {"application_name": "a\\b"}),
        ("-c application_name=a\\", {"application_name": "a"}),
        ("-c application_name=a\u00a0b", {"application_name": "a\u00a0b"}),  # no space of the C locale
        ("-c application_name=", {"application_name": ""}),
        ("-c application_name=a=b", {"application_name": "a=b"}),
        ("-c jit=on -c jit=off", {"jit": "off"}),
    ],
)
def test_options_are_split_as_postgresql_splits_them(options: str, settings: dict[str, str]) -> None:
    assert dict(start(options=options).settings) == settings


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
        ("options", "-c twokey.reason=" + "x" * 1025, "22023"),
        ("options", "-c twokey.reason=a\\\nb", "22023"),
        ("options", "-c twokey.subject=alice", "42501"),
        ("options", "--twokey.subject=alice", "42501"),
        ("options", "--twokey-subject=alice", "42501"),
        ("options", "-c TWOKEY.Subject=alice", "42501"),
        ("twokey.subject", "alice", "42501"),
        ("Twokey.anything", "x", "42501"),
        ("options", "-c jit=off -c search_path=evil", "42501"),
        ("options", "\\-c\\ search_path=evil", "42501"),
        ("options", "-csearch_path=evil", "42501"),
        ("options", "-c\tsearch_path=evil", "42501"),
        ("options", "-c", "42501"),
        ("options", "--", "42501"),
        ("options", "-c jit=off --", "42501"),
        ("options", "-d5", "42501"),
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


def with_minor(minor: int, *extensions: bytes) -> StartupRequested:
    packet = bytearray(wire.startup_packet([(b"user", b"a"), *((name, b"1") for name in extensions)]))
    packet[6:8] = minor.to_bytes(2, "big")
    event = StartupFramer().feed(bytes(packet))
    assert isinstance(event, StartupRequested)
    return event


@pytest.mark.parametrize(
    ("minor", "extensions", "answer", "long_key"),
    [
        (0, (), b"", False),
        (2, (), b"", True),
        (0, (b"_pq_.x",), b"\0\3\0\0" + b"\0\0\0\1" + b"_pq_.x\0", False),
        (2, (b"_pq_.x", b"_pq_.y"), b"\0\3\0\2" + b"\0\0\0\2" + b"_pq_.x\0_pq_.y\0", True),
        (3, (), b"\0\3\0\2" + b"\0\0\0\0", True),
        (9999, (), b"\0\3\0\2" + b"\0\0\0\0", True),
    ],
)
def test_newer_minor_versions_and_extensions_are_negotiated_down(
    minor: int, extensions: tuple[bytes, ...], answer: bytes, long_key: bool
) -> None:
    event = with_minor(minor, *extensions)
    assert event.negotiation == (wire.message(b"v", answer) if answer else b"")
    assert event.long_key is long_key


def test_other_major_versions_are_refused() -> None:
    packet = bytearray(wire.startup_packet([(b"user", b"a")]))
    packet[5] = 2
    with pytest.raises(RefusedStartupError):
        StartupFramer().feed(bytes(packet))


SSL_REQUEST, GSS_REQUEST = bytes.fromhex("0000000804d2162f"), bytes.fromhex("0000000804d21630")


def test_encryption_requests_come_before_and_only_there() -> None:
    assert encryption(SSL_REQUEST) is Encryption.TLS
    assert encryption(GSS_REQUEST) is Encryption.GSSAPI
    assert encryption(wire.startup_packet([(b"user", b"a")])[:8]) is None
    assert encryption(bytes.fromhex("0000000904d2162f")) is None
    assert is_direct_tls(0x16)
    assert not is_direct_tls(0)
    for packet in (SSL_REQUEST, GSS_REQUEST):
        with pytest.raises(ProtocolError, match="out of order"):
            StartupFramer().feed(packet)


@pytest.mark.parametrize("secret", [b"abcd", b"k" * 32, b"k" * 256])
def test_cancel_requests_of_both_protocols(secret: bytes) -> None:
    assert StartupFramer().feed(wire.cancel_request(7, secret)) == CancelRequested(7, secret)


@pytest.mark.parametrize("secret", [b"", b"k" * 257])
def test_cancel_keys_of_no_protocol(secret: bytes) -> None:
    with pytest.raises(ProtocolError):
        StartupFramer().feed(wire.cancel_request(7, secret))


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
