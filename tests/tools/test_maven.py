"""One file from Maven: asked once, checked always, and a clear word where there is no Maven."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.tools.test_setup import program
from tools import maven
from tools.setup import SetupError

WANTED = hashlib.sha256(b"the jar").hexdigest()
# Stands for Maven: writes what it was asked for where it was told to, and counts.
MVN = r"""
for argument; do case "$argument" in
  -DoutputDirectory=*) folder="${argument#*=}";;
  -Dartifact=*) artifact="${argument#*=}";;
esac; done
echo "$artifact" >> "$TWOKEY_CACHE/asked"
IFS=: read -r group name version <<END
$artifact
END
/bin/mkdir -p "$folder"
printf '%s' "$CONTENT" > "$folder/$name-$version.jar"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWOKEY_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CONTENT", "the jar")
    return tmp_path


def asked(place: Path) -> list[str]:
    return (place / "asked").read_text().splitlines()


def test_what_arrives_is_checked_and_kept(place: Path) -> None:
    program(place / "bin" / "mvn", MVN)
    jar = maven.fetch("org.example", "thing", "1.2.3", WANTED)
    assert jar.read_bytes() == b"the jar"
    assert maven.fetch("org.example", "thing", "1.2.3", WANTED) == jar
    assert asked(place) == ["org.example:thing:1.2.3"]


def test_another_file_than_pinned_is_refused_and_not_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(place / "bin" / "mvn", MVN)
    monkeypatch.setenv("CONTENT", "another jar")
    with pytest.raises(SetupError, match="not what was pinned"):
        maven.fetch("org.example", "thing", "1.2.3", WANTED)
    assert not list(place.rglob("*.jar"))


def test_a_kept_file_that_changed_is_fetched_again(place: Path) -> None:
    program(place / "bin" / "mvn", MVN)
    jar = maven.fetch("org.example", "thing", "1.2.3", WANTED)
    jar.write_bytes(b"tampered")
    assert maven.fetch("org.example", "thing", "1.2.3", WANTED).read_bytes() == b"the jar"
    assert len(asked(place)) == 2


def test_without_maven_it_says_what_to_do(place: Path) -> None:
    with pytest.raises(SetupError, match="Maven is needed") as caught:
        maven.fetch("org.example", "thing", "1.2.3", WANTED)
    assert "install Maven" in caught.value.todo


def test_a_maven_that_fails_says_why(place: Path) -> None:
    program(place / "bin" / "mvn", "echo 'Could not resolve' >&2; exit 1")
    with pytest.raises(SetupError, match="Could not resolve"):
        maven.fetch("org.example", "thing", "1.2.3", WANTED)


def test_a_maven_that_brings_nothing(place: Path) -> None:
    program(place / "bin" / "mvn", "exit 0")
    with pytest.raises(SetupError, match="did not bring"):
        maven.fetch("org.example", "thing", "1.2.3", WANTED)
