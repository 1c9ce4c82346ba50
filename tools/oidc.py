"""The OpenID provider of the tests, npm's oidc-provider: `python -m tools.oidc` prints the folder of its modules.

The versions and their hashes are in tests/oidc/package-lock.json, without the address of any registry: npm's own
configuration says where packages come from. Standard library only, and does nothing that was done before.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.setup import ROOT, SetupError, alone, cache, digest, run

FILES = (ROOT / "tests" / "oidc" / "package.json", ROOT / "tests" / "oidc" / "package-lock.json")


def node() -> str:
    """Raises SetupError."""
    found = shutil.which("node")
    if found is None:
        raise SetupError("node is not here: the tests' OpenID provider runs on it", "install Node.js 20 or later")
    return found


@alone("oidc")
def obtain() -> Path:
    """The folder of the modules. Raises SetupError."""
    made = cache() / "oidc" / digest(FILES)[:16]
    modules = made / "node_modules"
    if modules.is_dir():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError("npm is not here: the tests' OpenID provider comes by it", "install Node.js 20 or later")
    draft = made.with_name(f"{made.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in FILES:
        shutil.copy(file, draft)
    run(
        # In its folder: `npm ci --prefix` looks for the lock file elsewhere.
        ["env", "-C", draft, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        todo="check your network, or npm's registry setting",
        environ={"npm_config_cache": str(cache() / "npm")},
    )
    draft.replace(made)
    return modules


if __name__ == "__main__":
    try:
        print(obtain())
    except SetupError as error:
        print(f"oidc: {error}\n      {error.todo}", file=sys.stderr)
        sys.exit(1)
