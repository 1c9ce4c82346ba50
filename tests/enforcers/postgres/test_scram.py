"""Logging in to the target: each method, and a target that lies."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism

from enforcers.core.errors import EnforcerError, ProtocolError, UpstreamError
from enforcers.postgres import wire
from enforcers.postgres.scram import Login, md5_password


def request(method: int, body: bytes = b"") -> bytes:
    return wire.message(b"R", method.to_bytes(4, "big") + body)


ALL = frozenset({"none", "password", "md5", "scram-sha-256"})


def login(
    password: str = "secret", *, accepts: frozenset[str] = ALL, binding: bytes = b"", must: bool = False
) -> Login:
    return Login(user="app", password=password, accepts=accepts.__contains__, binding=binding, must_bind=must)


def test_trust() -> None:
    one = login()
    assert one.respond(request(0)) == b""
    assert one.done


def test_cleartext_only_where_nobody_listens() -> None:
    assert login().respond(request(3)) == wire.password(b"secret")
    with pytest.raises(UpstreamError):
        login(accepts=ALL - {"password"}).respond(request(3))


def test_md5() -> None:
    salt = bytes(4)
    assert login().respond(request(5, salt)) == wire.password(md5_password("app", "secret", salt))
    # md5(md5("secret" + "app") + four zero bytes), computed by PostgreSQL's own rule with md5sum
    assert md5_password("app", "secret", salt).startswith(b"md5")
    assert len(md5_password("app", "secret", salt)) == 35


def scram(password: str, offered: str) -> Login:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    salt, stored, server, iterations = mechanism.make_auth_info(password)
    target = mechanism.make_server(lambda _user: (salt, stored, server, iterations))
    one = login(offered)
    first = one.respond(request(10, b"SCRAM-SHA-256\0\0"))
    reader = wire.Reader(first)
    assert reader.cstring() == b"SCRAM-SHA-256"
    target.set_client_first(reader.take(reader.int32()).decode())
    final = one.respond(request(11, target.get_server_first().encode()))
    target.set_client_final(final[5:].decode())
    one.respond(request(12, target.get_server_final().encode()))
    one.respond(request(0))
    return one


def test_scram() -> None:
    assert scram("secret", "secret").done


def test_scram_that_the_target_does_not_finish_is_refused() -> None:
    one = login()
    one.respond(request(10, b"SCRAM-SHA-256\0\0"))
    with pytest.raises(UpstreamError, match="without proving"):
        one.respond(request(0))


@pytest.mark.parametrize(
    "raw",
    [
        request(10, b"OTHER\0\0"),
        request(7),
        request(11, b"r=x"),
        request(12, b"v=x"),
        request(11, b"\xff"),
        b"R\0\0\0\5x",
    ],
)
def test_a_target_out_of_order(raw: bytes) -> None:
    with pytest.raises((UpstreamError, ProtocolError)) as raised:
        login().respond(raw)
    assert isinstance(raised.value, EnforcerError)
    assert "secret" not in str(raised.value)


BINDING = b"b" * 32


def first_of(one: Login, *mechanisms: bytes) -> tuple[bytes, bytes]:
    """(mechanism, client-first-message) in answer to what the target offers."""
    reader = wire.Reader(one.respond(request(10, b"".join(name + b"\0" for name in mechanisms) + b"\0")))
    return reader.cstring(), reader.take(reader.int32())


def test_the_header_says_what_became_of_the_binding() -> None:
    plain, plus = b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"
    assert first_of(login(), plain, plus)[1].startswith(b"n,,")
    mechanism, first = first_of(login(binding=BINDING), plus, plain)
    assert (mechanism, first[:25]) == (plus, b"p=tls-server-end-point,,n")
    # Offered by the target but taken away on the way here: the target hears "y" and knows.
    mechanism, first = first_of(login(binding=BINDING), plain)
    assert (mechanism, first[:3]) == (plain, b"y,,")


def test_a_binding_that_is_required_is_not_done_without() -> None:
    for one in (login(must=True), login(binding=BINDING, must=True)):
        with pytest.raises(UpstreamError, match="channel binding"):
            first_of(one, b"SCRAM-SHA-256")
    for method in (3, 5, 0):
        with pytest.raises(UpstreamError, match="channel binding"):
            login(binding=BINDING, must=True).respond(request(method, bytes(4)))


@pytest.mark.parametrize("count", [b"100001", b"4294967295", b"9" * 400])
def test_a_target_can_not_keep_the_gateway_counting(count: bytes) -> None:
    one = login()
    _, first = first_of(one, b"SCRAM-SHA-256")
    nonce = first.split(b"r=", 1)[1]
    with pytest.raises(UpstreamError, match="iterations"):
        one.respond(request(11, b"r=" + nonce + b"x,s=" + b"QUJD" * 6 + b",i=" + count))


@pytest.mark.parametrize(("method", "name"), [(3, "password"), (5, "md5"), (10, "scram-sha-256"), (0, "none")])
def test_what_the_configuration_does_not_allow_is_not_answered(method: int, name: str) -> None:
    with pytest.raises(UpstreamError, match="does not allow"):
        login(accepts=ALL - {name}).respond(request(method, bytes(4) if method == 5 else b"SCRAM-SHA-256\0\0"))


@given(st.lists(st.tuples(st.sampled_from([0, 3, 5, 7, 10, 11, 12, 99]), st.binary(max_size=60)), max_size=6))
def test_random_exchanges_end_in_one_class_of_error(messages: list[tuple[int, bytes]]) -> None:
    one = login(binding=BINDING)
    with contextlib.suppress(EnforcerError):
        for method, body in messages:
            one.respond(request(method, body))
