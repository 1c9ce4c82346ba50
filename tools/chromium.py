"""Chromium without a window, for the tests of the web pages: `python -m tools.chromium` prints the program's path.

Debian's package and what of its libraries this system lacks, unpacked below TWOKEY_CACHE. Nothing is installed; apt's
own simulation says what would have to be, so a system that has more fetches less. Beside it axe-core (npm), which
judges how accessible a page is. Standard library only, and does nothing that was done before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import debian
from tools.setup import ROOT, SetupError, alone, cache, digest, run

ASKED = ("chromium-headless-shell", "fonts-dejavu-core")
PROGRAM = "usr/lib/chromium/chromium-headless-shell"
AXE_FILES = (ROOT / "tests" / "web" / "package.json", ROOT / "tests" / "web" / "package-lock.json")


@alone("chromium")
def obtain() -> Path:
    """The folder that it is unpacked in. Raises SetupError."""
    made = cache() / "chromium"
    if (made / PROGRAM).exists():
        return made
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise SetupError(f"{needed} is not here: Chromium is obtained as a Debian package", "leave tests/web out")
    with tempfile.TemporaryDirectory(prefix="twokey-chromium-") as work:
        _download(Path(work))
        draft = made.with_name("chromium.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for deb in sorted(Path(work).glob("*.deb")):
            run(["dpkg-deb", "-x", deb, draft], todo="look at what was downloaded")
        run([draft / PROGRAM, "--version"], todo="this system can't run it", environ=environment(draft))
        shutil.rmtree(made, ignore_errors=True)
        draft.replace(made)
    return made


def environment(folder: Path) -> dict[str, str]:
    """What it runs with: its libraries. Fonts are found by the system's own configuration, or by none at all."""
    fonts = folder / "fonts.conf"
    fonts.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{folder / 'usr' / 'share' / 'fonts'}</dir><dir>/usr/share/fonts</dir>"
        f"<cachedir>{folder / 'font-cache'}</cachedir></fontconfig>\n",
        encoding="utf-8",
    )
    return {
        "LD_LIBRARY_PATH": ":".join([debian.libraries(folder), *map(str, folder.glob("usr/lib/*/pulseaudio"))]),
        "FONTCONFIG_FILE": str(fonts),
        "PATH": os.environ.get("PATH", ""),
    }


@alone("axe")
def axe() -> Path:
    """axe-core's one file. Raises SetupError."""
    made = cache() / "axe" / digest(AXE_FILES)[:16]
    script = made / "node_modules" / "axe-core" / "axe.min.js"
    if script.exists():
        return script
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("npm is not here: axe-core comes by it", "install Node.js 20 or later")
    draft = made.with_name(f"{made.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in AXE_FILES:
        shutil.copy(file, draft)
    run(
        ["env", "-C", draft, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        todo="check your network, or npm's registry setting",
        environ={"npm_config_cache": str(cache() / "npm")},
    )
    shutil.rmtree(made, ignore_errors=True)
    draft.replace(made)
    return script


def _download(folder: Path) -> None:
    for attempt in (1, 2):
        packages = _lacking()
        if packages:
            done = subprocess.run(
                ["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
        if attempt == 1:
            debian.refresh()
    raise SetupError("Chromium was not downloaded", "check the network, and that apt's lists know the package")


def _lacking() -> list[str]:
    """What apt would have to install; always the two asked for."""
    asked = ["apt-get", "-s", "install", "--no-install-recommends", *ASKED]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return []
    named = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")}
    return sorted(named | set(ASKED))


def main() -> int:
    try:
        print(obtain() / PROGRAM)
        print(axe())
    except SetupError as error:
        print(f"chromium: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
