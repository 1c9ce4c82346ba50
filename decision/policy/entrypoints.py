"""Foreign resource types (authzen.yaml): which of them bring an entrypoint of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from decision.identity.documents import Document

# What twokey describes itself: nobody else answers for them. rego/authzen/authzen.rego denies them once more.
OWN: Final = frozenset({"sql", "kubernetes", "ssh", "tool", "connection", "rpc"})
_PACKAGE: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\Z")
_MODULE: Final = re.compile(rb"^package[ \t]+([\w.]+)", re.MULTILINE)


def read(document: Document | None, modules: Mapping[str, bytes]) -> Mapping[str, str]:
    """Resource type to package. Raises PolicyLoadError with file and line."""
    if document is None or not isinstance(document.data, dict):
        return {}
    types = document.data.get("types") or {}
    if not isinstance(types, dict):
        document.fail(["types"], "is not a mapping", "write `types: {}`")
    packages = {found.group(1).decode() for content in modules.values() if (found := _MODULE.search(content))}
    entrypoints: dict[str, str] = {}
    for name, item in types.items():
        if name in OWN:
            document.fail(["types", name], "is a resource type of twokey's own", "name it otherwise")
        if not isinstance(item, dict):
            document.fail(["types", name], "is not a mapping", "write `{}` for a type that nothing is said of")
        package = item.get("entrypoint")
        if package is None:
            continue
        where = ["types", name, "entrypoint"]
        if not isinstance(package, str) or not _PACKAGE.match(package):
            document.fail(where, "is not the name of a package", "write it without `data.`")
        if package.split(".")[0] in {"twokey", "system"}:
            document.fail(where, "is a package of twokey's or OPA's own", "write another package")
        if package not in packages:
            document.fail(where, "no Rego file has this package", "put one into the folder of `policy.rego`")
        entrypoints[str(name)] = package
    return entrypoints
