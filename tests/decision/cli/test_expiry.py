"""`twokey doctor` about certificates that expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from decision.cli import config, expiry
from decision.cli.main import main
from tests.decision.cli.test_config import PEOPLE
from tests.decision.cli.test_listening import BASE, MUTUAL, PEER
from tests.pki import Authority, host, uri

DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.yaml").write_text(PEOPLE)
    (tmp_path / "twokey.yaml").write_text(BASE + MUTUAL + PEER)
    authority = Authority()
    authority.leaf(uri("spiffe://td/decision"), host("decision.example.org")).write(tmp_path, "a")
    (tmp_path / "bundle.pem").write_bytes(authority.pem)
    (tmp_path / "enforcers.yaml").write_text("enforcers: []\n")
    return tmp_path


def said(folder: Path, later: timedelta = 0 * DAY) -> dict[str, tuple[str, str]]:
    found = expiry.findings(config.load(folder / "twokey.yaml"), datetime.now(UTC) + later)
    return {one.subject: (one.level, one.message) for one in found}


def lives(folder: Path, begins: timedelta, ends: timedelta) -> tuple[str, str]:
    Authority().leaf(host("decision.example.org"), begins=begins, ends=ends).write(folder, "a")
    return said(folder)["decision.mutual.certificate"]


def test_each_file_is_told_of(folder: Path) -> None:
    found = said(folder)
    assert list(found) == [
        "decision.mutual.certificate",
        "decision.mutual.clients",
        "enforcers.decision.ca",
        "enforcers.decision.certificate",
    ]
    assert {level for level, _ in found.values()} == {"ok"}
    assert found["decision.mutual.certificate"][1].startswith("a.pem is good until 20")


@pytest.mark.parametrize(
    ("begins", "ends", "level", "says"),
    [
        (-351 * DAY, 13 * DAY, "warning", "expires soon"),
        (-350 * DAY, 15 * DAY, "ok", "is good"),
        (-DAY / 24 * 0.8, DAY / 24 * 0.2, "warning", "expires soon"),  # an hour's, not renewed at half of it
        (-DAY / 24 * 0.6, DAY / 24 * 0.4, "ok", "is good"),
        (-2 * DAY, -DAY / 1000, "problem", "expired at"),
        (DAY / 1000, DAY, "problem", "not valid yet"),
    ],
)
def test_soon_is_by_what_it_lives_for(folder: Path, begins: timedelta, ends: timedelta, level: str, says: str) -> None:
    found = lives(folder, begins, ends)
    assert (found[0], says in found[1]) == (level, True)


def test_of_a_bundle_the_first_to_expire_counts(folder: Path) -> None:
    assert said(folder, 2 * DAY)["decision.mutual.clients"][0] == "problem"


def test_files_that_hold_none(folder: Path) -> None:
    (folder / "bundle.pem").write_text("canary")
    level, message = said(folder)["decision.mutual.clients"]
    assert (level, message) == ("problem", "bundle.pem holds no certificates in PEM")
    (folder / "bundle.pem").unlink()
    assert said(folder)["enforcers.decision.ca"] == ("problem", "bundle.pem can't be read: No such file or directory")


def test_doctor_says_it(folder: Path) -> None:
    Authority().leaf(host("decision.example.org"), begins=-351 * DAY, ends=13 * DAY).write(folder, "a")
    result = CliRunner().invoke(main, ["doctor", "-c", str(folder / "twokey.yaml")])
    assert "decision.mutual.certificate: a.pem expires soon" in result.output
