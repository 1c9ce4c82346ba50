"""Where the hot loop was compiled from exactly these sources, the compiled modules are used; else the sources are.

The modules that every statement passes are ordinary typed Python. `tools/compile.py` (by `make setup`, where a C
compiler is) compiles them with mypyc into `twokey_compiled` beside the installed packages, with the SHA-256 of each
source. A module is taken from there only while its source, and that of every other compiled module, is still the one
it was made from: an edited source is never shadowed by an older binary. TWOKEY_PURE=1 turns it off. ADR 0011.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

PACKAGE: Final = "twokey_compiled"
MANIFEST: Final = "manifest.json"
PURE: Final = "TWOKEY_PURE"


class CompiledFinder(MetaPathFinder):
    """Finds the compiled modules, and the library they share, by their full names."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = dict(files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        file = self.files.get(fullname)
        return None if file is None else importlib.util.spec_from_file_location(fullname, file)


def compiled_modules(package: Path, root: Path) -> dict[str, Path]:
    """Module name -> its binary. Empty unless all sources below `root` are the ones `package` was compiled from.

    package holds manifest.json: "tag", the interpreter's cache tag; "sources", path -> SHA-256; "files", name -> path.
    """
    try:
        manifest = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
        if manifest["tag"] != sys.implementation.cache_tag:
            return {}
        for source, digest in manifest["sources"].items():
            if hashlib.sha256((root / source).read_bytes()).hexdigest() != digest:
                return {}
        return {name: package / file for name, file in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def prefer() -> bool:
    """Put the compiled modules before the sources. True when there are any that fit; call it before importing them."""
    if os.environ.get(PURE, "") not in {"", "0"}:
        return False
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return False
    package = Path(next(iter(spec.submodule_search_locations)))
    files = compiled_modules(package, Path(__file__).resolve().parents[1])
    if not files:
        return False
    sys.meta_path.insert(0, CompiledFinder(files))
    return True


def in_use() -> bool:
    """The session machine that runs here is the compiled one. (After it was imported.)"""
    module = sys.modules.get("enforcers.postgres.machine")
    return module is not None and not str(module.__file__).endswith(".py")
