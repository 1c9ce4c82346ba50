"""What a credential helper says, for the command line's own log-ins and the secrets the supervisor hands on.

The same as the gateways read (enforcers/core/exec_credential.py), told apart by who may import whom: an ExecCredential
of client.authentication.k8s.io, or the bare secret on its first line. No sentence here holds a word of what was read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from decision.cli.errors import CliError

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def read(output: bytes, *, user: str = "", key: bool = False) -> str:
    """The secret, "" for none. key: a private key, of several lines. user: whose. Raises CliError."""
    if output.lstrip()[:1] != b"{":
        return _text(output if key else output.split(b"\n", 1)[0]).rstrip("\r\n")
    document = _parsed(output)
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise CliError("the program's document is not an ExecCredential")
    if document.get("apiVersion") not in VERSIONS:
        raise CliError(f"the program's ExecCredential is of another version than {VERSIONS[0]}")
    status = document.get("status")
    if not isinstance(status, dict):
        raise CliError("the program's ExecCredential has no `status`: it has no credential to give")
    if user and status.get("user", user) != user:
        raise CliError(f"the program gave another user's credential; that of {user} was asked for")
    if "expirationTimestamp" in status and not _lasts(status["expirationTimestamp"]):
        raise CliError("the program's credential has expired already, or says it in no time of RFC 3339")
    secret = status.get("clientKeyData" if key else "token")
    return secret if isinstance(secret, str) and "\0" not in secret else ""


# Each of these turns an exception that may hold the secret into nothing, before ours is raised.


def _parsed(output: bytes) -> object:
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return None


def _text(output: bytes) -> str:
    try:
        return output.decode()
    except UnicodeDecodeError:
        return ""


def _lasts(given: object) -> bool:
    try:
        end = datetime.fromisoformat(str(given).upper())
    except ValueError:
        return False
    return end.tzinfo is not None and end > datetime.now(UTC)
