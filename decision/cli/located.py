"""YAML that remembers where everything stood, so that an error can name file, line and key.

Values become plain dicts, lists and scalars; positions are kept beside them, by path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from decision.cli.errors import ConfigError, Problem
from decision.cli.words import nearest

PathKey = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Located:
    """A parsed document: plain `data`, and the line of each path (the nearest known one for the others)."""

    file: str
    data: object
    lines: Mapping[PathKey, int]

    def line(self, path: Sequence[str | int]) -> int:
        path = tuple(path)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Sequence[str | int], message: str, fix: str = "") -> Problem:
        return Problem(self.file, self.line(path), spell(path), message, fix)


def spell(path: Sequence[str | int]) -> str:
    """('connections', 0, 'name') as connections[0].name."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def load(path: Path, shown: str) -> Located:
    """Read one YAML file. Raises ConfigError: missing, unreadable, too big, not YAML, a key given twice."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(shown, 0, "", "larger than 4 MiB", "this is not a configuration file")])
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem(shown, 0, "", "no such file", "write it, or name another one")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(shown, 0, "", f"can't be read: {error}", "check its permissions")]) from None
    return parse(text, shown)


def parse(text: str, shown: str) -> Located:
    """As load, of a text. Raises ConfigError."""
    yaml = YAML(typ="rt", pure=True)
    try:
        tree = yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        what = str(error.problem).split(" with ")[0]
        raise ConfigError([Problem(shown, line, "", what, "keep one of the two")]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fix = "use spaces for indentation" if "\\t" in str(error.problem) else "correct the YAML there"
        raise ConfigError(
            [Problem(shown, mark.line + 1 if mark is not None else 0, "", f"not YAML: {error.problem}", fix)]
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Problem(shown, 0, "", f"not YAML: {error}", "correct it")]) from None
    lines: dict[PathKey, int] = {}
    return Located(shown, _plain(tree, (), lines), lines)


def _plain(node: object, path: PathKey, lines: dict[PathKey, int]) -> object:
    if isinstance(node, CommentedMap):
        mapping: dict[str, object] = {}
        for key, value in node.items():
            below = (*path, str(key))
            lines[below] = node.lc.key(key)[0] + 1 if key in node.lc.data else lines.get(path, 1)
            mapping[str(key)] = _plain(value, below, lines)
        return mapping
    if isinstance(node, CommentedSeq):
        items: list[object] = []
        for index, value in enumerate(node):
            below = (*path, index)
            lines[below] = node.lc.item(index)[0] + 1
            items.append(_plain(value, below, lines))
        return items
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def check(model: type[Model], document: Located, *, later: Mapping[str, str] | None = None) -> Model:
    """The document as `model`. Raises ConfigError with every fault, each with its line and a fix.

    Values are never shown: a secret written where none belongs must not end in a log.
    `later` names keys of issues to come and what to do without them.
    """
    data = document.data if document.data is not None else {}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError([_problem(model, document, detail, later or {}) for detail in details]) from None


def _problem(model: type[BaseModel], document: Located, detail: ErrorDetails, later: Mapping[str, str]) -> Problem:
    path = tuple(part for part in detail["loc"] if _in_document(document.data, detail["loc"], part))
    kind, message, fix = detail["type"], detail["msg"], ""
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        if spell(path) in later:
            return document.problem(path, "not built yet", later[spell(path)])
        message = "unknown key"
        near = nearest(key, _fields(model, detail["loc"][:-1]))
        fix = f"did you mean {near!r}?" if near else "remove it"
    elif kind == "missing":
        message, fix = f"{detail['loc'][-1]!r} is missing", "add it"
    elif kind == "literal_error":
        message = f"must be {detail.get('ctx', {}).get('expected', 'one of the known words')}"
        near = nearest(str(_at(document.data, path)), str(detail.get("ctx", {}).get("expected", "")).split("'")[1::2])
        fix = f"did you mean {near!r}?" if near else ""
    elif kind in {"model_type", "dict_type"}:
        message, fix = "must be a mapping of keys and values", "indent its keys below it"
    elif kind == "value_error":
        message, _, fix = message.removeprefix("Value error, ").partition("; ")
    return document.problem(path, message, fix)


def _in_document(data: object, loc: Sequence[str | int], part: str | int) -> bool:
    """Whether `part` is a place in the file, not a name that pydantic put between (a union's branch)."""
    node = data
    for step in loc:
        if step == part:
            break
        node = _child(node, step)
    return isinstance(part, int) or part == loc[-1] or (isinstance(node, Mapping) and part in node) or len(loc) == 1


def _child(node: object, step: str | int) -> object:
    if isinstance(node, Mapping) and step in node:
        return node[step]
    if isinstance(node, list) and isinstance(step, int) and step < len(node):
        return node[step]
    return node


def _at(data: object, path: Sequence[str | int]) -> object:
    for step in path:
        data = _child(data, step)
    return data


def _fields(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The names that would have been right at `loc`."""
    kind: object = model
    for step in loc:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or step not in kind.model_fields:
            continue
        kind = _inner(kind.model_fields[str(step)].annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return []


def _inner(annotation: object) -> object:
    """The model inside `X | None`, `list[X]`, `dict[str, X]`."""
    while not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        args = [arg for arg in getattr(annotation, "__args__", ()) if arg not in {type(None), str}]
        if not args:
            return annotation
        annotation = args[0]
    return annotation


def fault(document: Located, path: Sequence[str | int], message: str, fix: str) -> ConfigError:
    """One fault that the model can't see, to be raised."""
    return ConfigError([document.problem(path, message, fix)])
