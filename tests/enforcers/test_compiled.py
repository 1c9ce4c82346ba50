"""The compiled modules are used while they are what the sources say, and never otherwise."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enforcers import compiled

COMPILERS = ("cc", "gcc", "clang")


def built(folder: Path, **changes: object) -> tuple[Path, Path]:
    """A package of one binary, and the root of its source."""
    package, root = folder / "package", folder / "root"
    package.mkdir()
    root.mkdir()
    (root / "one.py").write_bytes(b"x = 1\n")
    manifest: dict[str, object] = {
        "tag": sys.implementation.cache_tag,
        "sources": {"one.py": hashlib.sha256(b"x = 1\n").hexdigest()},
        "files": {"one": "one.so", "shared__mypyc": "shared__mypyc.so"},
    }
    (package / compiled.MANIFEST).write_text(json.dumps(manifest | changes), encoding="utf-8")
    return package, root


def test_what_fits_is_used(tmp_path: Path) -> None:
    package, root = built(tmp_path)
    assert compiled.compiled_modules(package, root) == {
        "one": package / "one.so",
        "shared__mypyc": package / "shared__mypyc.so",
    }


def test_an_edited_source_is_never_shadowed(tmp_path: Path) -> None:
    package, root = built(tmp_path)
    (root / "one.py").write_bytes(b"x = 2\n")
    assert compiled.compiled_modules(package, root) == {}


@pytest.mark.parametrize(
    "changes",
    [{"tag": "cpython-299"}, {"sources": {"gone.py": "00"}}, {"sources": []}, {"files": None}, {"files": []}],
)
def test_what_does_not_fit_is_not_used(tmp_path: Path, changes: dict[str, object]) -> None:
    assert compiled.compiled_modules(*built(tmp_path, **changes)) == {}


def test_a_broken_manifest_is_none(tmp_path: Path) -> None:
    package, root = built(tmp_path)
    (package / compiled.MANIFEST).write_text("[", encoding="utf-8")
    assert compiled.compiled_modules(package, root) == {}
    assert compiled.compiled_modules(tmp_path / "nowhere", root) == {}


def asked(**environment: str) -> str:
    """What a fresh interpreter takes for the session machine."""
    code = "import enforcers.postgres.machine, enforcers.compiled as c; print(c.in_use())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != compiled.PURE} | environment,
        cwd=Path(compiled.__file__).parents[1],
    )
    return done.stdout.strip()


def test_plain_python_on_demand() -> None:
    assert asked(TWOKEY_PURE="1") == "False"


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler: set-up compiled nothing")
def test_set_up_compiled_these_sources() -> None:
    """Where a compiler is, the tests, the demo and the bench run the compiled hot loop."""
    assert asked() == "True"


def test_all_of_describing_is_compiled() -> None:
    """Half of it would cross between the two at each call, and where it is compiled its depth is what is counted."""
    root = Path(__file__).resolve().parents[2]
    listed = (root / "tools" / "compile.py").read_text(encoding="utf-8")
    here = {str(path.relative_to(root)) for path in (root / "enforcers" / "postgres" / "describe").glob("*.py")}
    assert not {name for name in here if not name.endswith("__init__.py") and f'    "{name}",\n' not in listed}
