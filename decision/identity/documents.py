"""Operators' YAML and JSON files, read strictly and with positions, so that an error names file, line, key and fix.

Stricter than YAML: no anchors, aliases, merge keys or tags (they let a small file become a huge or surprising one),
no duplicate keys, keys are strings, at most 1 MiB. The parser builds nodes only; no constructor ever runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from decision.errors import PolicyLoadError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64

Path_ = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """`data`: plain dicts, lists and scalars. `lines`: the line (from 1) of each path, where it is known."""

    file: str
    data: object
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def fail(self, path: Sequence[str | int], what: str, fix: str) -> NoReturn:
        """Raise PolicyLoadError at the nearest known line."""
        raise error_at(self.file, self._line(path), spell(path), what, fix)

    def place(self, path: Sequence[str | int]) -> str:
        """`file:line`, of the nearest known line."""
        line = self._line(path)
        return f"{self.file}:{line}" if line else self.file

    def _line(self, path: Sequence[str | int]) -> int:
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 0)


def error_at(file: str, line: int, key: str, what: str, fix: str) -> PolicyLoadError:
    """The one spelling of a load error: `file:line: key: what; fix`."""
    where = f"{file}:{line}" if line else file
    return PolicyLoadError(f"{where}: {key + ': ' if key else ''}{what}; {fix}", next_step=fix)


def spell(path: Sequence[str | int]) -> str:
    """('agents', 0, 'owner') is agents[0].owner."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_bytes(path: Path) -> bytes:
    """The file's bytes. Raises PolicyLoadError: missing, unreadable, not a file, larger than 1 MiB."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error_at(str(path), 0, "", "there is no such file", "create it, or correct its name") from None
    except OSError as error:
        raise error_at(str(path), 0, "", f"can't be read: {error.strerror}", "make it readable for twokey") from None
    if len(content) > MAX_BYTES:
        raise error_at(str(path), 0, "", "is larger than 1 MiB", "split it")
    return content


def parse(content: bytes, file: str) -> Document:
    """Parse by the file name's ending: `.json` is JSON, everything else YAML 1.2. Raises PolicyLoadError."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise error_at(file, line, "", "is not UTF-8", "save it as UTF-8") from None
    try:
        document = _parse_json(text, file) if file.endswith(".json") else _parse_yaml(text, file)
        orjson.dumps(document.data)  # what can't travel to OPA: half a surrogate pair, a whole number beyond 64 bits
    except TypeError as error:
        raise error_at(file, 0, "", f"can't be written as JSON: {error}", "put it in quotes, or correct it") from None
    except RecursionError:
        raise error_at(file, 0, "", "is nested too deeply", f"nest at most {MAX_DEPTH} levels") from None
    return document


def _parse_json(text: str, file: str) -> Document:
    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise error_at(file, 0, twice, "is given twice", "keep one of the two")
        return found

    def constant(name: str) -> NoReturn:
        raise error_at(file, 0, "", f"{name} is not a JSON number", "write a finite number")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant(digits)

    try:
        data = json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=finite)
    except json.JSONDecodeError as error:
        raise error_at(file, error.lineno, "", f"is not JSON: {error.msg}", "correct the syntax") from None
    except ValueError:
        raise error_at(file, 0, "", "holds a number with too many digits", "write a shorter number") from None
    return Document(file, data)


def _parse_yaml(text: str, file: str) -> Document:
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise error_at(file, line, "", f"is not YAML: {error.problem}", "correct the syntax") from None
    except (YAMLError, ValueError) as error:
        raise error_at(file, 0, "", f"is not YAML: {error}", "correct the syntax") from None
    lines: dict[Path_, int] = {}
    data = None if root is None else _Builder(yaml, file, lines).build(root, ())
    return Document(file, data, lines)


class _Builder:
    """Nodes to plain data. Only the core schema's tags; every node is visited once, because aliases are refused."""

    def __init__(self, yaml: YAML, file: str, lines: dict[Path_, int]) -> None:
        self._yaml = yaml
        self._file = file
        self._lines = lines

    def build(self, node: Node, path: Path_) -> object:
        line = node.start_mark.line + 1
        self._lines[path] = line
        if node.anchor is not None:
            raise error_at(self._file, line, spell(path), "anchors and aliases are not allowed", "write it out")
        if len(path) > MAX_DEPTH:
            raise error_at(self._file, line, "", "is nested too deeply", f"nest at most {MAX_DEPTH} levels")
        if isinstance(node, MappingNode) and node.tag == _CORE + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        raise error_at(self._file, line, spell(path), f"the tag {node.tag} is not allowed", "leave the tag out")

    def _mapping(self, node: MappingNode, path: Path_) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self.build(key_node, path)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise error_at(self._file, line, spell(path), "a key is not a string", "put it in quotes")
            if key in found:
                raise error_at(self._file, line, spell((*path, key)), "is given twice", "keep one of the two")
            found[key] = self.build(value_node, (*path, key))
            self._lines[(*path, key)] = line
        return found

    def _scalar(self, node: ScalarNode, path: Path_) -> object:
        line = node.start_mark.line + 1
        kind = str(node.tag).removeprefix(_CORE)
        text: str = node.value
        if kind in {"str", "timestamp"}:
            return text
        if kind not in {"int", "float", "bool", "null"}:
            raise error_at(self._file, line, spell(path), f"the tag {node.tag} is not allowed", "put it in quotes")
        try:
            value: object = self._yaml.constructor.construct_object(node)
        except ValueError:
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            raise error_at(self._file, line, spell(path), "is not a finite number", "put it in quotes, or correct it")
        return value
