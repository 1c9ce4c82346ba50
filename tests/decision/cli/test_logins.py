"""A log-in's file: for one service, for oneself alone, renewed once however many ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from decision.cli import logins, oauth
from decision.cli.errors import CliError
from decision.cli.logins import Login
from decision.cli.oauth import Client, OAuth, Tokens

PLACE = "server twokey.example:7443"
FAR = 4_000_000_000


def login(*, expires: int = FAR, refresh: str = "r1", place: str = PLACE) -> Login:
    tokens = Tokens(access="a1", refresh=refresh, expires=expires, bound=True)
    return Login(place=place, client=Client(issuer="https://idp", client="cli"), tokens=tokens, key=oauth.new_key())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": "/nowhere"}


def test_what_is_written_is_read(environ: dict[str, str]) -> None:
    kept = login()
    path = logins.write(kept, environ)
    found = logins.read(PLACE, environ)
    assert found is not None
    assert found.tokens == kept.tokens
    assert found.client == kept.client
    assert found.key is not None
    assert kept.key is not None
    assert found.key.key.thumbprint() == kept.key.key.thumbprint()
    assert "a1" not in repr(found)
    assert logins.read("server other:1", environ) is None
    assert logins.forget(PLACE, environ)
    assert not logins.forget(PLACE, environ)
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", "x"])
def test_a_damaged_file(environ: dict[str, str], text: str) -> None:
    logins.write(login(), environ).write_text(text)
    with pytest.raises(CliError, match="damaged"):
        logins.read(PLACE, environ)


def test_a_file_of_another_service_under_this_ones_name(environ: dict[str, str]) -> None:
    path = logins.write(login(), environ)
    path.write_text(json.dumps({**json.loads(path.read_text()), "place": "server evil:1"}))
    with pytest.raises(CliError, match="damaged"):
        logins.read(PLACE, environ)


def test_files_and_folders_that_others_reach(environ: dict[str, str], tmp_path: Path) -> None:
    path = logins.write(login(), environ)
    path.chmod(0o604)
    with pytest.raises(CliError, match="others"):
        logins.read(PLACE, environ)
    path.unlink()
    path.symlink_to(tmp_path / "x")
    with pytest.raises(CliError, match="read"):
        logins.read(PLACE, environ)
    path.parent.chmod(0o755)
    with pytest.raises(CliError, match="look into"):
        logins.write(login(), environ)


def test_one_that_has_ended_and_cannot_be_renewed(environ: dict[str, str]) -> None:
    logins.write(login(expires=1, refresh=""), environ)
    with pytest.raises(CliError, match="has ended"):
        logins.current(PLACE, environ)


def test_two_commands_at_once_renew_it_once(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    logins.write(login(expires=1), environ)
    used: list[str] = []
    both = threading.Barrier(2)

    class Renewing(OAuth):
        def refresh(self, token: str) -> Tokens:
            used.append(token)
            return Tokens(access="a2", refresh="r2", expires=FAR, bound=True)

    @contextmanager
    def nowhere() -> Iterator[None]:
        yield None

    monkeypatch.setattr(oauth, "OAuth", Renewing)
    monkeypatch.setattr(oauth, "connected", nowhere)
    monkeypatch.setattr(
        oauth,
        "discover",
        lambda _http, issuer: oauth.Provider(
            issuer=issuer, authorization="", token="t", device="", revocation="", binds=True, names_itself=False
        ),
    )

    def ask() -> str:
        both.wait(10)
        return logins.current(PLACE, environ).tokens.access

    with ThreadPoolExecutor(2) as pool:
        assert {one.result(10) for one in [pool.submit(ask), pool.submit(ask)]} == {"a2"}
    assert used == ["r1"]
