"""Logging in to the target: trust, cleartext, md5, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, as a sans-IO exchange.

Sources: PostgreSQL documentation, "Start-up" (AuthenticationMD5Password) and "SASL Authentication"; RFC 5802, RFC 5929,
RFC 7677. The gateway logs in with its own credential, so a client's password is never the target's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from scramp import ScramClient, ScramException

from enforcers.core.errors import ProtocolError, UpstreamError
from enforcers.postgres import wire

OK, KERBEROS, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 2, 3, 5, 10, 11, 12


MAX_ITERATIONS = 100_000  # PostgreSQL's own choice is 4096
PLAIN, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"


class Login:
    """Feed each Authentication message; what it returns is sent. `done` once the target accepted.

    accepts: whether the target may ask for "none", "password", "md5", "scram-sha-256". A target that asks for more
    than it may would get the password for the asking. binding: of the TLS channel (tls-server-end-point), where there
    is one; must_bind: only a log-in that proves both ends of it is one.
    """

    def __init__(
        self,
        *,
        user: str,
        password: str,
        accepts: Callable[[str], bool],
        binding: bytes = b"",
        must_bind: bool = False,
    ) -> None:
        self._user = user
        self._password = password
        self._accepts = accepts
        self._binding = binding
        self._must_bind = must_bind
        self._scram: Any = None
        self._scram_verified = False
        self._bound = False
        self._asked = False
        self.done = False

    def respond(self, raw: bytes) -> bytes:
        """The answer to one Authentication message, empty for none. Raises UpstreamError, ProtocolError."""
        reader = wire.Reader(raw)
        method = reader.int32()
        if method == OK:
            return self._accepted()
        if self._must_bind and method not in {SASL, SASL_CONTINUE, SASL_FINAL}:
            raise UpstreamError("the target offers no log-in with channel binding, which the configuration requires")
        if method == CLEARTEXT:
            self._allow("password", "a cleartext password; over an unencrypted link use sslmode or require_auth")
            return wire.password(self._password.encode())
        if method == MD5:
            self._allow("md5", "md5")
            return wire.password(md5_password(self._user, self._password, reader.take(4)))
        if method in {SASL, SASL_CONTINUE, SASL_FINAL}:
            self._allow("scram-sha-256", "SCRAM")
            return self._sasl(method, reader)
        raise UpstreamError(f"the target asks for authentication method {method}, which the gateway can't do")

    def _allow(self, method: str, said: str) -> None:
        self._asked = True
        if not self._accepts(method):
            raise UpstreamError(f"the target asks for {said}, which the configuration does not allow")

    def _accepted(self) -> bytes:
        if self._scram is not None and not self._scram_verified:
            raise UpstreamError("the target ended SCRAM without proving that it knows the password")
        if self._must_bind and not self._bound:
            raise UpstreamError("the target accepted without channel binding, which the configuration requires")
        if not self._asked and not self._accepts("none"):
            raise UpstreamError("the target asks for no proof at all, which the configuration does not allow")
        self.done = True
        self._password = ""
        return b""

    def _sasl(self, method: int, reader: wire.Reader) -> bytes:
        try:
            if method == SASL:
                return self._first(reader)
            if self._scram is None:
                raise ProtocolError("SASL message out of order")
            text = reader.data[reader.position :].decode()
            if method == SASL_CONTINUE:
                _check_iterations(text)
                self._scram.set_server_first(text)
                return wire.message(b"p", self._scram.get_client_final().encode())
            self._scram.set_server_final(text)
        except (ScramException, UnicodeDecodeError) as error:
            # The library's text may quote the exchange; the class of failure is enough.
            raise UpstreamError(
                "SCRAM log-in to the target failed: wrong password, or not the server it was"
            ) from error
        self._scram_verified = True
        return b""

    def _first(self, reader: wire.Reader) -> bytes:
        offered = []
        while name := reader.cstring():
            offered.append(name.decode("ascii", "replace"))
        bind = PLUS in offered and bool(self._binding)
        if self._must_bind and not bind:
            raise UpstreamError("the target offers no channel binding, which the configuration requires")
        if not bind and PLAIN not in offered:
            raise UpstreamError(f"the target offers no SASL mechanism that the gateway can do ({PLAIN}, {PLUS})")
        # With a binding at hand and none offered the header says so ("y"): a target that did offer one then knows that
        # somebody between took it away (RFC 5802, section 6).
        binding = ("tls-server-end-point", self._binding) if self._binding else None
        mechanism = PLUS if bind else PLAIN
        self._scram = ScramClient([mechanism], self._user, self._password, channel_binding=binding)
        self._bound = bind
        first = self._scram.get_client_first().encode()
        return wire.message(b"p", mechanism.encode() + b"\0" + len(first).to_bytes(4, "big") + first)


def _check_iterations(server_first: str) -> None:
    """Before they are counted: a target that wants billions of them would stop every session of this worker."""
    for part in server_first.split(","):
        if part.startswith("i=") and len(part) - 2 > len(str(MAX_ITERATIONS)):
            raise UpstreamError(f"the target wants more than {MAX_ITERATIONS} iterations of SCRAM's hash")
        if part.startswith("i=") and part[2:].isdecimal() and int(part[2:]) > MAX_ITERATIONS:
            raise UpstreamError(f"the target wants more than {MAX_ITERATIONS} iterations of SCRAM's hash")


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """ "md5" + md5(md5(password + user) + salt), in hexadecimal: the target's wish, not our choice of a hash."""
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest().encode()
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode()
