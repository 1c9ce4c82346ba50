"""Compiles the gateway's hot loop with mypyc: `python tools/compile.py FOLDER` writes the binaries and their manifest.

The sources stay what they are, typed Python, and run unchanged where nothing was compiled (enforcers/compiled.py says
when the binaries are used). Needs a C compiler and Python's headers; set-up goes on without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "enforcers/core/acts.py",
    "enforcers/core/gate.py",
    "enforcers/core/leases.py",
    "enforcers/core/ports.py",
    "enforcers/core/reading.py",
    "enforcers/core/recorder.py",
    "enforcers/core/records.py",
    "enforcers/postgres/bounds.py",
    "enforcers/postgres/catalog/source.py",
    "enforcers/postgres/commands.py",
    "enforcers/postgres/copy_masking.py",
    "enforcers/postgres/describe/build.py",
    "enforcers/postgres/describe/calls.py",
    "enforcers/postgres/describe/casts.py",
    "enforcers/postgres/describe/conditionals.py",
    "enforcers/postgres/describe/constants.py",
    "enforcers/postgres/describe/context.py",
    "enforcers/postgres/describe/copying.py",
    "enforcers/postgres/describe/counted.py",
    "enforcers/postgres/describe/definitions.py",
    "enforcers/postgres/describe/describer.py",
    "enforcers/postgres/describe/digest.py",
    "enforcers/postgres/describe/effects.py",
    "enforcers/postgres/describe/expressions.py",
    "enforcers/postgres/describe/flows.py",
    "enforcers/postgres/describe/foreign.py",
    "enforcers/postgres/describe/functions.py",
    "enforcers/postgres/describe/joins.py",
    "enforcers/postgres/describe/labelled.py",
    "enforcers/postgres/describe/labels.py",
    "enforcers/postgres/describe/lineage.py",
    "enforcers/postgres/describe/literals.py",
    "enforcers/postgres/describe/operators.py",
    "enforcers/postgres/describe/output.py",
    "enforcers/postgres/describe/pg_settings.py",
    "enforcers/postgres/describe/queries.py",
    "enforcers/postgres/describe/references.py",
    "enforcers/postgres/describe/relations.py",
    "enforcers/postgres/describe/resolution.py",
    "enforcers/postgres/describe/rowsources.py",
    "enforcers/postgres/describe/safe_functions.py",
    "enforcers/postgres/describe/settings.py",
    "enforcers/postgres/describe/shape.py",
    "enforcers/postgres/describe/statements.py",
    "enforcers/postgres/describe/tags.py",
    "enforcers/postgres/describe/telling.py",
    "enforcers/postgres/describe/unlabelling.py",
    "enforcers/postgres/describe/utility.py",
    "enforcers/postgres/describe/verify.py",
    "enforcers/postgres/describing.py",
    "enforcers/postgres/description.py",
    "enforcers/postgres/limits.py",
    "enforcers/postgres/machine.py",
    "enforcers/postgres/machine_base.py",
    "enforcers/postgres/machine_calls.py",
    "enforcers/postgres/machine_copying.py",
    "enforcers/postgres/machine_decide.py",
    "enforcers/postgres/machine_duties.py",
    "enforcers/postgres/machine_follower.py",
    "enforcers/postgres/machine_fused.py",
    "enforcers/postgres/machine_guard.py",
    "enforcers/postgres/machine_lineage.py",
    "enforcers/postgres/machine_portals.py",
    "enforcers/postgres/machine_private.py",
    "enforcers/postgres/machine_replies.py",
    "enforcers/postgres/machine_state.py",
    "enforcers/postgres/machine_unresolved.py",
    "enforcers/postgres/maskers/base.py",
    "enforcers/postgres/maskers/choose.py",
    "enforcers/postgres/maskers/dates.py",
    "enforcers/postgres/maskers/documents.py",
    "enforcers/postgres/maskers/hashes.py",
    "enforcers/postgres/maskers/numbers.py",
    "enforcers/postgres/maskers/texts.py",
    "enforcers/postgres/masking.py",
    "enforcers/postgres/operations.py",
    "enforcers/postgres/rows.py",
    "enforcers/postgres/session.py",
    "enforcers/postgres/source.py",
    "enforcers/postgres/upstream.py",
    "enforcers/postgres/wire.py",
)
# Once for each statement that was not seen before: it spends its time in what Python's objects do, and gains nothing
# from the dearest optimisations, which take three times as long to compile.
DESCRIBING = "enforcers/postgres/describe/"


def digests() -> dict[str, str]:
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in MODULES}


def module_name(path: Path) -> str:
    """`enforcers/core/acts.cpython-311-x86_64-linux-gnu.so` -> `enforcers.core.acts`."""
    return ".".join((*path.parts[:-1], path.name.split(".", 1)[0]))


def build(work: Path) -> Path:
    """Compile in `work`, which gets a copy of the sources. The folder that holds the binaries."""
    from mypyc.build import mypycify  # noqa: PLC0415 - a build tool, imported only to build
    from setuptools import setup  # noqa: PLC0415

    for part in ("enforcers", "proto"):
        shutil.copytree(ROOT / part, work / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", work / "pyproject.toml")
    os.chdir(work)
    os.environ["MYPYPATH"] = "proto/gen"
    output = work / "binaries"
    describing = [name for name in MODULES if name.startswith(DESCRIBING)]
    others = [name for name in MODULES if not name.startswith(DESCRIBING)]
    # Two libraries, which the C compiler makes side by side. mypyc and setuptools have an Extension of their own each:
    # nothing to hold them to.
    extensions: Any = mypycify(
        ["--config-file=pyproject.toml", *MODULES],
        opt_level="3",
        debug_level="0",
        separate=[(others, "twokey_hot"), (describing, "twokey_describe")],
    )
    for extension in extensions:
        if any("describe" in source for source in extension.sources):
            arguments = extension.extra_compile_args
            extension.extra_compile_args = ["-O1" if argument == "-O3" else argument for argument in arguments]
    # No other argument reaches setuptools: the project's own metadata is not what is built here.
    (work / "pyproject.toml").unlink()
    setup(
        name="twokey-compiled",
        packages=[],
        ext_modules=extensions,
        script_args=["-q", "build_ext", "-j", "2", "-b", str(output)],
    )
    return output


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python tools/compile.py FOLDER", file=sys.stderr)
        return 2
    target = Path(sys.argv[1]).absolute()
    sources = digests()
    with tempfile.TemporaryDirectory(prefix="twokey-compile-") as folder:
        output = build(Path(folder))
        if digests() != sources:
            print("compile: the sources changed meanwhile; run it again", file=sys.stderr)
            return 1
        draft = target.with_name(target.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(output, draft)
    files = {module_name(path.relative_to(draft)): str(path.relative_to(draft)) for path in draft.rglob("*.so")}
    manifest = {"tag": sys.implementation.cache_tag, "sources": sources, "files": files}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
