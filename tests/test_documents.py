"""What the documents promise is there: every link leads somewhere, every reason code has its row."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcers.core.errors import CODES, code_of

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
# Calls whose first argument is a reason code.
BY_CODE = {"denied", "coded", "code_of"}


def _documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).exists()] or sorted(ROOT.glob("*.md"))


def _anchors(document: Path) -> set[str]:
    """The anchors of its headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    lost = []
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name) if name else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert lost == []


def _codes_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        keyword = isinstance(node, ast.keyword) and node.arg == "code"
        attribute = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["code"]
        if keyword or attribute:
            values = [node.value]
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = node.args[:1] if name in BY_CODE else []
        for value in values:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.fullmatch(part.value):
                    yield part.value


def _codes() -> dict[str, str]:
    """Every reason code in the sources, and where."""
    found = dict.fromkeys(CODES, "enforcers/core/errors.py")
    for folder in ("decision", "enforcers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "cli" not in path.parts:
                for code in _codes_in(ast.parse(path.read_text(encoding="utf-8"))):
                    found.setdefault(code, str(path.relative_to(ROOT)))
    return found


def _rows() -> set[str]:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    return {code for row in ROW.findall(text) for code in re.findall(r"`([A-Z_]+)`", row)}


def test_every_reason_code_is_documented() -> None:
    codes = _codes()
    assert {"POLICY_DENIED", "APPROVAL_LIMIT", "TOKEN_ROLE", "INTERNAL", "OBLIGATION_UNMET"} <= set(codes)
    assert {code: where for code, where in codes.items() if code not in _rows()} == {}


def test_every_token_code_is_a_refused_log_in() -> None:
    assert code_of("TOKEN_EXPIRED") == code_of("TOKEN_INVALID")
    assert code_of("TOKEN_ROLE").sqlstate == "28000"
    assert code_of("TOKEN_KEYS_UNAVAILABLE").sqlstate == "57P03"
    assert code_of("APPROVAL_LIMIT").http == 429
    assert code_of("UNKNOWN_CONNECTION").sqlstate == "3D000"
    assert code_of("SOMETHING_NEW") == code_of("POLICY_DENIED")
