"""Logging in to the target: trust, cleartext, md5 and SCRAM-SHA-256, as a sans-IO exchange.

Sources: PostgreSQL documentation, "Start-up" (AuthenticationMD5Password) and "SASL Authentication"; RFC 5802, RFC 7677.
The gateway logs in with its own credential, so a client's password is never the target's.
"""

from __future__ import annotations

import hashlib
from typing import Any

from scramp import ScramClient, ScramException

from enforcers.core.errors import ProtocolError, UpstreamError
from enforcers.postgres import wire

OK, KERBEROS, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 2, 3, 5, 10, 11, 12


class Login:
    """Feed each Authentication message; what it returns is sent. `done` once the target accepted.

    A target that asks for cleartext over an unencrypted, non-local link would get the password for the asking: refused.
    """

    def __init__(self, *, user: str, password: str, cleartext_allowed: bool) -> None:
        self._user = user
        self._password = password
        self._cleartext_allowed = cleartext_allowed
        self._scram: Any = None
        self._scram_verified = False
        self.done = False

    def respond(self, raw: bytes) -> bytes:
        """The answer to one Authentication message, empty for none. Raises UpstreamError, ProtocolError."""
        reader = wire.Reader(raw)
        method = reader.int32()
        if method == OK:
            if self._scram is not None and not self._scram_verified:
                raise UpstreamError("the target ended SCRAM without proving that it knows the password")
            self.done = True
            self._password = ""
            return b""
        if method == CLEARTEXT:
            if not self._cleartext_allowed:
                raise UpstreamError("the target asks for a cleartext password over an unencrypted link; use sslmode")
            return wire.password(self._password.encode())
        if method == MD5:
            return wire.password(md5_password(self._user, self._password, reader.take(4)))
        if method in {SASL, SASL_CONTINUE, SASL_FINAL}:
            return self._sasl(method, reader)
        raise UpstreamError(f"the target asks for authentication method {method}, which the gateway can't do")

    def _sasl(self, method: int, reader: wire.Reader) -> bytes:
        try:
            if method == SASL:
                return self._first(reader)
            if self._scram is None:
                raise ProtocolError("SASL message out of order")
            text = reader.data[reader.position :].decode()
            if method == SASL_CONTINUE:
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
        if "SCRAM-SHA-256" not in offered:
            raise UpstreamError("the target offers no SASL mechanism that the gateway knows (SCRAM-SHA-256)")
        self._scram = ScramClient(["SCRAM-SHA-256"], self._user, self._password)
        first = self._scram.get_client_first().encode()
        return wire.message(b"p", b"SCRAM-SHA-256\0" + len(first).to_bytes(4, "big") + first)


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """ "md5" + md5(md5(password + user) + salt), in hexadecimal: the target's wish, not our choice of a hash."""
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest().encode()
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode()
