"""Writes requirements/*.txt: every package, for every supported Python, pinned with the hashes of its files.

No index is named in them, so that they install from any mirror. Needs uv (`pip install uv`) and a package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    "dev.txt": ["pyproject.toml", "requirements/build.in", "--extra", "dev", "--extra", "demo"],
    "run.txt": ["pyproject.toml"],
}
OPTIONS = [
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--quiet",
]


def main() -> int:
    uv = shutil.which("uv", path=f"{ROOT / '.venv' / 'bin'}:{Path(sys.executable).parent}") or shutil.which("uv")
    if uv is None:
        print("lock: uv was not found; pip install uv", file=sys.stderr)
        return 1
    for name, sources in TARGETS.items():
        print(f"lock: requirements/{name}", flush=True)
        output = ["--output-file", f"requirements/{name}"]
        done = subprocess.run(
            [uv, "pip", "compile", *OPTIONS, *output, *sources], cwd=ROOT, check=False, stdout=subprocess.DEVNULL
        )
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
