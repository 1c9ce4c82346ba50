"""A policy folder as OPA's own commands must see it: the Rego with its tests, and the policy data where rules read it.

In production the decision service puts the data files under data.twokey.config.policy (docs/architecture.md); OPA by
itself would load each YAML file at a place of its own. Tests bring their own people; the connection `crm` is given.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from decision.cli import located, opa

_SAMPLE: dict[str, object] = {
    "people": {"principals": [], "agents": []},
    "roles": {},
    "connections": {"crm": {"kind": "postgres", "environment": "production"}},
    "classification": {"crm": {"public.customers.email": "email", "public.cards.pan": "pan"}},
}


def stage(rego: Path, data: Path | None, target: Path) -> Path:
    """Fill `target` as a bundle. `data` replaces whole files of the Rego folder's own. Raises ConfigError."""
    for module in sorted(rego.rglob("*.rego")):
        copy = target / module.relative_to(rego)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, copy)
    base = rego / "data" if (rego / "data").is_dir() else opa.shipped_rego() / "data"
    files = {path.stem: path for folder in (base, data) if folder is not None for path in sorted(folder.glob("*.yaml"))}
    policy = {stem: located.load(path, str(path)).data for stem, path in files.items()}
    document = {"twokey": {"config": {**_SAMPLE, "policy": policy}}}
    (target / "data.json").write_text(json.dumps(document), encoding="utf-8")
    (target / ".manifest").write_text(json.dumps({"roots": ["twokey"]}), encoding="utf-8")
    return target
