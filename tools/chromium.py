"""Chromium without a window, for the tests of the web pages: `python -m tools.chromium` obtains it.

Debian's package and what of its libraries this system lacks, unpacked below TWOKEY_CACHE. Nothing is installed; apt's
own simulation says what would have to be, so a system that has more fetches less. Beside it axe-core (npm), which
judges how accessible a page is. Where apt doesn't know the package (Ubuntu), a Chromium or Chrome of the PATH serves.

It runs with its sandbox, and where the tests are root's as nobody's: Chromium refuses root, whose files a page that
breaks out would have. Where the system lets no process of ours make a namespace (AppArmor of newer Ubuntus), or
nobody can't read the cache, it runs without the sandbox: all that it loads are our own pages, from this machine.

Standard library only, and does nothing that was done before.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools import debian
from tools.setup import ROOT, SetupError, alone, cache, digest, run

ASKED = ("chromium-headless-shell", "fonts-dejavu-core")
PROGRAM = "usr/lib/chromium/chromium-headless-shell"
ON_PATH = ("chrome-headless-shell", "chromium", "google-chrome")
NOBODY = 65534
PROBE_S = 60
AXE_FILES = (ROOT / "tests" / "web" / "package.json", ROOT / "tests" / "web" / "package-lock.json")


@dataclass(frozen=True, slots=True)
class Launch:
    """How it starts here. program: what playwright calls, a script where the user changes."""

    program: Path
    environ: Mapping[str, str]
    sandbox: bool


def launch(work: Path) -> Launch:
    """The strictest way that works here. work: a new folder, which nobody may enter. Raises SetupError."""
    folder = obtain()
    if folder is not None:
        program, environ = str(folder / PROGRAM), environment(folder)
    else:
        program, environ = on_path(), {"PATH": os.environ.get("PATH", "")}
    ways = [(program, True), (program, False)]
    if os.geteuid() == 0:
        script = work / "chromium"
        script.write_text(_as_nobody(program), encoding="utf-8")
        script.chmod(0o755)
        ways = [(str(script), True), (str(script), False), (program, False)]
    for path, sandbox in ways:
        found = Launch(Path(path), {**environ, "HOME": str(work)}, sandbox)
        if _starts(found, work):
            return found
    raise SetupError(f"{program} does not start here", "run it with --headless --dump-dom about:blank, and see")


def _as_nobody(program: str) -> str:
    """A script: the profile that playwright made becomes nobody's, and so does the process."""
    return (
        "#!/bin/sh\n"
        'for given in "$@"; do case "$given" in\n'
        f'--user-data-dir=*) chown -R {NOBODY}:{NOBODY} "${{given#*=}}";;\n'
        "esac; done\n"
        f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {shlex.quote(program)} "$@"\n'
    )


def _starts(found: Launch, work: Path) -> bool:
    profile = tempfile.mkdtemp(prefix="profile-", dir=work)
    flags = ["--headless", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
    command = [str(found.program), *([] if found.sandbox else ["--no-sandbox"]), *flags, "data:text/html,<p>started"]
    try:
        done = subprocess.run(
            command, env=dict(found.environ), capture_output=True, text=True, check=False, timeout=PROBE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "started" in done.stdout


def on_path() -> str:
    """Raises SetupError."""
    for name in ON_PATH:
        found = shutil.which(name)
        if found is not None:
            return found
    raise SetupError("there is no Chromium", "on Debian it is obtained by apt; else put one on PATH")


def known() -> bool:
    """Whether apt could have Debian's; on Ubuntu what is called chromium is no program but a way to snap's."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    if not _lacking():
        debian.refresh()
    return bool(_lacking())


def obtain() -> Path | None:
    """The folder that Debian's is unpacked in; None where there is only one on PATH. Raises SetupError."""
    if not (cache() / "chromium" / PROGRAM).exists() and not known():
        on_path()
        return None
    return _obtain()


@alone("chromium")
def _obtain() -> Path:
    made = cache() / "chromium"
    if (made / PROGRAM).exists():
        return made
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
        folder = obtain()
        print(on_path() if folder is None else folder / PROGRAM)
        print(axe())
    except SetupError as error:
        print(f"chromium: {error}\n  {error.todo}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
