"""Which issuer `twokey login` logs in at, what its options go with, and how a certificate is kept renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from decision.cli.commands import login
from decision.cli.errors import CliError, UnreachableError
from decision.cli.main import main
from decision.cli.options import Who

CONFIG = """\
people: people.yaml
identity:
  issuers:
    - {issuer: 'https://one.example', audience: t, roles: {claim: g}, login: {client: c1, resource: r, scopes: [s]}}
    - {issuer: 'https://two.example', audience: t, roles: {claim: g}%s}
connections:
  - {name: bastion, kind: ssh, environment: x, upstream: 'ssh://127.0.0.1'}
"""


def who(folder: Path, second: str = "", server: str | None = None) -> Who:
    (folder / "people.yaml").write_text("principals: []\n")
    (folder / "twokey.yaml").write_text(CONFIG % second)
    return Who(folder / "twokey.yaml", server, None, None)


def test_the_one_issuer_that_people_log_in_at(tmp_path: Path) -> None:
    found = login._client(who(tmp_path), None, None)
    assert (found.issuer, found.client, found.scopes, found.resource) == ("https://one.example", "c1", ("s",), "r")
    with pytest.raises(CliError, match="no issuer"):
        login._client(who(tmp_path), "https://two.example", None)
    two = who(tmp_path, ", login: {client: c2}")
    with pytest.raises(click.UsageError, match="which issuer"):
        login._client(two, None, None)
    assert login._client(two, "https://two.example", None).client == "c2"
    assert login._client(who(tmp_path, server="h:1"), "https://x.example", "c").issuer == "https://x.example"
    with pytest.raises(click.UsageError, match="--issuer"):
        login._client(who(tmp_path, server="h:1"), None, None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ssh"],
        ["--uses", "2"],
        ["--connection", "crm"],
        ["--role", "executor"],
        ["--connection", "crm", "--role", "executor", "--keep"],
        ["--connection", "crm", "--role", "executor", "--command", "x"],
        ["--ssh", "--connection", "crm", "--role", "executor", "--uses", "2"],
        ["--ssh", "--connection", "../../x", "--role", "executor"],
        ["--client", "c"],
    ],
)
def test_options_that_go_with_others(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["login", *arguments]).exit_code == 2


class Time:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


class EnoughError(Exception):
    """Ends a loop that has no end."""


def test_a_certificate_is_renewed_a_minute_before_it_ends() -> None:
    time = Time()
    made: list[datetime] = []

    def once() -> datetime:
        made.append(time.at)
        if len(made) == 4:
            raise EnoughError
        return time.at + timedelta(seconds=290)

    with pytest.raises(EnoughError):
        login.keep_renewed(once, sleep=time.sleep, now=time.now)
    assert time.slept == [230, 230, 230]


def test_it_is_tried_again_until_it_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    time = Time()
    tried: list[datetime] = []

    def once() -> datetime:
        tried.append(time.at)
        if len(tried) > 1:
            raise UnreachableError("no answer")
        return time.at + timedelta(seconds=290)

    with pytest.raises(UnreachableError):
        login.keep_renewed(once, sleep=time.sleep, now=time.now)
    assert time.slept[0] == 230
    assert set(time.slept[1:]) == {10}
    assert tried[-1] >= tried[0] + timedelta(seconds=290)
    assert "not renewed yet" in capsys.readouterr().err


def test_the_first_refusal_ends_it() -> None:
    time = Time()

    def once() -> datetime:
        raise CliError("refused")

    with pytest.raises(CliError, match="refused"):
        login.keep_renewed(once, sleep=time.sleep, now=time.now)
    assert time.slept == []
