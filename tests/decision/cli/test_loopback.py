"""The listener that a browser comes back to takes one answer, to its own question."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from decision.cli import loopback
from decision.cli.errors import CliError
from decision.cli.loopback import Listener


def test_others_are_let_pass_and_the_answer_ends_it() -> None:
    with Listener() as listener, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listener.wait, "st")
        origin = listener.redirect.removesuffix("/callback")
        for path in ("/", "/callback", "/callback?state=other&code=evil", "/favicon.ico?state=st", "/callback?code=x"):
            assert httpx.get(origin + path, timeout=10).status_code == 404
        assert httpx.post(f"{origin}/callback?state=st", timeout=10).status_code == 501
        answer = httpx.get(f"{origin}/callback?state=st&code=c", timeout=10)
        assert answer.status_code == 200
        assert "no-store" in answer.headers["Cache-Control"]
        assert "code" not in answer.text
        assert waiting.result(10) == "state=st&code=c"


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "WAIT_S", 0.05)
    with Listener() as listener, pytest.raises(CliError, match="in time"):
        listener.wait("st")
