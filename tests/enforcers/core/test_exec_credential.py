"""What a helper may say, and that nothing of what it may not is in a refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcers.core.errors import CredentialError
from enforcers.core.exec_credential import read_credential

CANARY = "s3cret-canary"
VERSION = "client.authentication.k8s.io/v1"


def document(status: object, **changed: object) -> bytes:
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status, **changed}).encode()


def test_the_kubernetes_shape() -> None:
    given = read_credential(document({"token": CANARY, "expirationTimestamp": "2030-01-31T12:00:00.5+01:00"}))
    assert given.secret.reveal() == CANARY
    assert given.expires == datetime(2030, 1, 31, 11, 0, 0, 500_000, tzinfo=UTC)
    nine = read_credential(document({"token": CANARY, "expirationTimestamp": "2030-01-31t12:00:00.123456789z"}))
    assert nine.expires == datetime(2030, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)  # as Go's time.RFC3339Nano
    older = document({"token": CANARY, "user": "crm"}, apiVersion=VERSION + "beta1", spec={"interactive": False})
    assert read_credential(b"\n " + older, user="crm").expires is None
    key = read_credential(document({"clientKeyData": "one\ntwo\n", "token": ""}), key=True)
    assert key.secret.reveal() == "one\ntwo\n"


def test_the_bare_secret() -> None:
    assert read_credential(CANARY.encode() + b"\r\nrest").secret.reveal() == CANARY
    assert read_credential(b"a\nb\n", key=True).secret.reveal() == "a\nb\n"


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (b"", "empty"),
        (b"\n" + CANARY.encode(), "empty"),
        (CANARY.encode() + b"\0", "zero byte"),
        (b"\xff" + CANARY.encode(), "UTF-8"),
        (CANARY.encode() * 10_000, "64 KiB"),
        (b'{"token": "' + CANARY.encode(), "not JSON"),
        (b"{" * 60_000, "not JSON"),
        (document({"token": CANARY}, kind="Secret"), "another kind"),
        (document({"token": CANARY}, kind=None), "another kind"),
        (document({"token": CANARY}, apiVersion="v1"), "another version"),
        (document(None), "without `status`"),
        (document(CANARY), "without `status`"),
        (document({}), "status.token"),
        (document({"token": [CANARY]}), "status.token"),
        (document({"token": ""}), "empty"),
        (document({"token": CANARY + "\0"}), "zero byte"),
        (document({"token": CANARY, "user": "postgres"}), "another user's"),
        (document({"token": CANARY, "user": None}), "another user's"),
        (document({"token": CANARY, "expirationTimestamp": 1_900_000_000}), "no time"),
        (document({"token": CANARY, "expirationTimestamp": "2030-01-31T12:00:00"}), "no time"),
        (document({"token": CANARY, "expirationTimestamp": CANARY}), "no time"),
        (document({"token": CANARY, "expirationTimestamp": "2030-13-31T12:00:00Z"}), "no time"),
        (document({"token": CANARY, "expirationTimestamp": "9999-12-31T23:59:59-23:59"}), "no time"),
    ],
)
def test_what_is_refused(output: bytes, says: str) -> None:
    with pytest.raises(CredentialError, match=says) as refused:
        read_credential(output, user="crm")
    assert CANARY not in str(refused.value)
    error: BaseException | None = refused.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__context__ is None  # JSONDecodeError and UnicodeDecodeError hold what they could not read


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "status", "x"]), JSON), st.binary())
def test_anything_else_is_an_error_of_ours(found: dict[str, Any], raw: bytes) -> None:
    for output in (json.dumps(found).encode(), b"{" + raw, raw):
        try:
            given = read_credential(output)
        except CredentialError:
            continue
        assert given.secret.reveal()
