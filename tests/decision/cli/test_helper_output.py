"""The command line reads of a helper what the gateways read, and refuses what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.cli import helper_output
from decision.cli.errors import CliError
from enforcers.core.errors import CredentialError
from enforcers.core.exec_credential import read_credential

CANARY = "s3cret-canary"
VERSION = "client.authentication.k8s.io/v1"
SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def document(status: object, **changed: object) -> bytes:
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status, **changed}).encode()


def test_what_is_read() -> None:
    assert (
        helper_output.read(document({"token": CANARY, "expirationTimestamp": SOON, "user": "crm"}), user="crm")
        == CANARY
    )
    assert helper_output.read(document({"clientKeyData": "a\nb"}), key=True) == "a\nb"
    assert helper_output.read(CANARY.encode() + b"\r\nmore") == CANARY
    assert helper_output.read(b"a\nb\n", key=True) == "a\nb"


@pytest.mark.parametrize(
    "output",
    [
        b'{"token": "' + CANARY.encode(),
        b"{" * 60_000,
        document({"token": CANARY}, kind="Secret"),
        document({"token": CANARY}, apiVersion="v1"),
        document(CANARY),
        document({"token": CANARY, "user": "root"}),
        document({"token": CANARY, "expirationTimestamp": "2020-01-01T00:00:00Z"}),
        document({"token": CANARY, "expirationTimestamp": 5}),
    ],
)
def test_what_is_refused(output: bytes) -> None:
    with pytest.raises(CliError) as refused:
        helper_output.read(output, user="crm")
    assert CANARY not in str(refused.value)
    assert refused.value.__context__ is None


STATUS = st.fixed_dictionaries(
    {},
    optional={
        "token": st.text() | st.none() | st.integers(),
        "user": st.sampled_from(["crm", "root", None]),
        "expirationTimestamp": st.sampled_from([SOON, "x", 1]),
    },
)


@given(STATUS, st.sampled_from(["ExecCredential", "Secret"]), st.sampled_from([VERSION, VERSION + "beta1", "v1"]))
def test_both_readers_agree(status: dict[str, object], kind: str, version: str) -> None:
    output = document(status, kind=kind, apiVersion=version)
    try:
        theirs = read_credential(output, user="crm").secret.reveal()
    except CredentialError:
        theirs = ""
    try:
        ours = helper_output.read(output, user="crm")
    except CliError:
        ours = ""
    assert ours == theirs
