"""Entrypoints of foreign resource types are checked when policy is loaded, with file and line."""

from __future__ import annotations

import pytest

from decision.errors import PolicyLoadError
from decision.identity.documents import parse
from decision.policy.entrypoints import OWN, read

MODULES = {"todo.rego": b"# a comment\npackage todo.access\n"}


def test_a_type_brings_its_entrypoint() -> None:
    text = b"types:\n  todo: {entrypoint: todo.access}\n  other: {}\n"
    assert read(parse(text, "authzen.yaml"), MODULES) == {"todo": "todo.access"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("todo: {entrypoint: nothere}", "no Rego file"),
        ("todo: {entrypoint: twokey.main}", "own"),
        ("todo: {entrypoint: system.authz}", "own"),
        ("todo: {entrypoint: ../x}", "not the name"),
        ("todo: {entrypoint: 7}", "not the name"),
        *((f"{name}: {{}}", "twokey's own") for name in sorted(OWN)),
    ],
)
def test_what_may_not_be_is_refused_with_its_line(entry: str, said: str) -> None:
    with pytest.raises(PolicyLoadError, match=rf"authzen\.yaml:2: .*{said}"):
        read(parse(f"types:\n  {entry}\n".encode(), "authzen.yaml"), MODULES)
