"""TLS to a target as its connection says, for the command line's own log-ins (`twokey doctor`)."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from decision.cli import sources
from decision.cli.config import Loaded
from decision.cli.errors import CliError
from decision.cli.settings import Account, Connection


def tls_context(
    loaded: Loaded, connection: Connection, account: Account, environ: Mapping[str, str]
) -> ssl.SSLContext | None:
    """None where the connection has no TLS. Raises CliError: a certificate or key can't be used."""
    mode = connection.sslmode
    if mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    try:
        if mode == "require":
            context.verify_mode = ssl.CERT_NONE
        elif connection.root_certificate is not None:
            context.load_verify_locations(loaded.absolute(connection.root_certificate))
        else:
            context.load_default_certs()
        if account.certificate is not None and account.key is not None:
            key = sources.fetch(loaded, account.key, environ, user=account.user, key=True)
            _load_pair(context, loaded.absolute(account.certificate), key)
    except (OSError, ssl.SSLError) as error:
        raise CliError(f"a certificate can't be used: {type(error).__name__}") from None
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: str) -> None:
    """The key goes by a pipe: OpenSSL wants a file, and it is to be in none."""
    reading, writing = os.pipe()
    try:
        try:
            os.set_blocking(writing, False)
            os.write(writing, key.encode())
        finally:
            os.close(writing)
        context.load_cert_chain(certificate, f"/dev/fd/{reading}", password="")
    finally:
        os.close(reading)
