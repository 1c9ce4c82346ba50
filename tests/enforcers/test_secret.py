"""A secret hides from everything but being asked for."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable

import orjson
import pytest

from enforcers.core.credentials import ClientCertificate
from enforcers.core.sources import Fetched
from enforcers.secret import Secret

CANARY = "s3cret-canary"


def test_no_way_of_writing_shows_it() -> None:
    secret = Secret(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", "%s" % secret, repr([secret])]  # noqa: UP031 - the way of old loggers
    shown += [repr(Fetched(secret, 1.0)), repr(ClientCertificate(b"", secret))]
    assert not any(CANARY in text for text in shown)
    assert secret.reveal() == CANARY
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps])
def test_it_is_not_serialised(write: Callable[[object], object]) -> None:
    with pytest.raises((TypeError, orjson.JSONEncodeError)) as refused:
        write(Secret(CANARY))
    assert CANARY not in str(refused.value)


def test_wiping_overwrites_what_was_held() -> None:
    secret = Secret(CANARY)
    held = secret._held
    secret.wipe()
    assert held == bytes(len(CANARY))
    assert secret.reveal() == ""
