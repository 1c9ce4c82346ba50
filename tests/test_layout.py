"""The shape of the repository: a mirrored test tree, small modules, nothing that names a machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("decision", "enforcers", "tools")
# Folders of tests that mirror no package: whole-system tests, measurements.
FREE = {"oidc", "web", "clients", "corpus", "e2e", "bench", "demo", "faults", "fuzz", "rego", "proto"}
MOST_LINES = 500  # what fails; 400 is the aim


def _python_files(folder: str) -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in path.parts]


def _mirrored_tests() -> list[Path]:
    tests = [path.relative_to(ROOT / "tests") for path in _python_files("tests")]
    return [
        path for path in tests if path.name.startswith("test_") and len(path.parts) > 1 and path.parts[0] not in FREE
    ]


def _targets(test: Path) -> list[Path]:
    """What tests/a/b/test_c.py may be about: a/b/c.py, the package a/b/c, or a part of either (test_c_faults.py)."""
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    folder = ROOT / test.parent
    found = [folder / f"{name}.py" for name in names] + [folder / name / "__init__.py" for name in names]
    if words[0] in {"real", "attacks"}:  # test_real_x.py, test_attacks.py: the whole package, against the real x or us
        found.append(folder / "__init__.py")
    return [*found, folder / "__main__.py"] if "main" in words else found


@pytest.mark.parametrize("test", _mirrored_tests(), ids=str)
def test_every_test_stands_where_its_module_stands(test: Path) -> None:
    assert any(target.exists() for target in _targets(test)), f"tests/{test} mirrors no module"


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in _python_files("tests")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("folder", SOURCES)
def test_modules_have_one_idea_and_say_why_they_exist(folder: str) -> None:
    wrong = []
    for path in _python_files(folder):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        if text.strip() and ast.get_docstring(ast.parse(text)) is None:
            wrong.append(f"{name} has no docstring")
        if text.count("\n") > MOST_LINES:
            wrong.append(f"{name} has more than {MOST_LINES} lines")
        if path.name in {"utils.py", "helpers.py", "common.py", "misc.py"}:
            wrong.append(f"{name}: name it after what it does")
    assert wrong == []


def test_every_rego_file_has_its_test_beside_it() -> None:
    policies = [path for path in (ROOT / "rego").rglob("*.rego") if not path.name.endswith("_test.rego")]
    missing = [
        str(path.relative_to(ROOT)) for path in policies if not path.with_name(f"{path.stem}_test.rego").exists()
    ]
    assert policies
    assert missing == []


def test_nothing_tracked_names_a_machine_or_a_mirror() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    index = re.compile(r"(--index-url|--extra-index-url|--find-links|files\.pythonhosted|/simple/)")
    places = re.compile(r"/(?:home|Users)/[a-z]|/work/(?:main|shared)")
    wrong = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file() or path.suffix in {".binpb", ".png"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if places.search(text) or (name.startswith("requirements/") and index.search(text)):
            wrong.append(name)
    assert wrong == []
