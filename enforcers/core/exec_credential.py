"""What a credential helper says: Kubernetes' ExecCredential, or the bare secret. Sans-IO.

Source: Kubernetes, "client-go credential plugins" (client.authentication.k8s.io/v1): `status.token`,
`status.clientKeyData`, `status.expirationTimestamp` (RFC 3339). Our one addition is `status.user`: where a helper says
whose credential it gives, it must be the account that was asked for. Whatever is not wholly understood is refused; no
error here holds a word of what was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from enforcers.core.errors import CredentialError
from enforcers.secret import Secret

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
MAX_SECRET = 64 << 10  # bytes
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Given:
    """expires: None where the helper doesn't say."""

    secret: Secret
    expires: datetime | None = None


def read_credential(output: bytes, *, user: str = "", key: bool = False) -> Given:
    """key: a private key (PEM, of several lines) is wanted instead of a password. user: whose; "" for nobody's.

    Raises CredentialError, whose sentence says what to mend.
    """
    if len(output) > MAX_SECRET:
        raise CredentialError(f"gave more than {MAX_SECRET >> 10} KiB")
    if output.lstrip()[:1] == b"{":
        return _document(output, user=user, key=key)
    return Given(read_text(output, lines=key))


def read_text(data: bytes, *, lines: bool) -> Secret:
    """The first line, or with `lines` all of them. Raises CredentialError."""
    if len(data) > MAX_SECRET:
        raise CredentialError(f"gave more than {MAX_SECRET >> 10} KiB")
    if not lines:
        data = data.split(b"\n", 1)[0].removesuffix(b"\r")
    text = _decoded(data)
    if text is None:
        raise CredentialError("gave what is not UTF-8")
    return _secret(text, "it")


def _document(output: bytes, *, user: str, key: bool) -> Given:
    document = _parsed(output)
    if not isinstance(document, dict):
        raise CredentialError("began with '{', but what it gave is not JSON")
    if document.get("kind") != "ExecCredential":
        raise CredentialError("gave a document of another kind; it must be an ExecCredential")
    if document.get("apiVersion") not in VERSIONS:
        raise CredentialError(f"gave an ExecCredential of another version; it must be {VERSIONS[0]}")
    status = document.get("status")
    if not isinstance(status, dict):
        raise CredentialError("gave an ExecCredential without `status`: it has no credential to give")
    if user and status.get("user", user) != user:
        raise CredentialError(f"gave another user's credential; that of {user} was asked for")
    name = "clientKeyData" if key else "token"
    text = status.get(name)
    if not isinstance(text, str):
        raise CredentialError(f"gave an ExecCredential without a text as `status.{name}`")
    return Given(_secret(text, f"`status.{name}`"), _expiry(status))


def _expiry(status: Mapping[str, object]) -> datetime | None:
    given = status.get("expirationTimestamp")
    if given is None:
        return None
    found = None
    if isinstance(given, str) and _TIME.fullmatch(given):
        found = _time(given)
    if found is None:
        raise CredentialError("gave an `expirationTimestamp` that is no time of RFC 3339, such as 2026-01-31T12:00:00Z")
    return found


def _secret(text: str, what: str) -> Secret:
    if not text or "\0" in text:
        raise CredentialError(f"gave nothing usable: {what} is empty, or has a zero byte")
    return Secret(text)


# Each of these turns an exception that may hold the secret into nothing, before ours is raised.


def _parsed(output: bytes) -> object:
    try:
        return orjson.loads(output)
    except orjson.JSONDecodeError:
        return None


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
