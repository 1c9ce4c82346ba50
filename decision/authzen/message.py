"""AuthZEN's requests, read from bytes that nobody trusts (Authorization API 1.0, sections 6 and 7)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from decision.errors import BadRequestError

MAX_DEPTH: Final = 32
MAX_ITEMS: Final = 100
MAX_TEXT: Final = 1024
_PARTS: Final = ("subject", "action", "resource", "context")
_NAMES: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
EXECUTE_ALL: Final = "execute_all"
DENY_FIRST: Final = "deny_on_first_deny"
PERMIT_FIRST: Final = "permit_on_first_permit"
SEMANTICS: Final = frozenset({EXECUTE_ALL, DENY_FIRST, PERMIT_FIRST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One question. `document`: the four parts as they were sent, nothing else of the request."""

    subject_type: str
    subject_id: str
    action: str
    resource_type: str
    resource_id: str
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Batch:
    """`items` in their order: a question, or what is wrong with it."""

    items: Sequence[Evaluation | BadRequestError]
    semantic: str


def parsed(body: bytes) -> Mapping[str, object]:
    """The object in `body`. Raises BadRequestError: not UTF-8, not JSON, a name given twice, NaN, too deep."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
        orjson.dumps(value)  # lone surrogates, integers of more than 64 bits
    except BadRequestError:
        raise
    except (ValueError, RecursionError, TypeError):
        raise BadRequestError("the body is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise BadRequestError("the body is not a JSON object")
    _check_depth(value)
    return value


def evaluation(document: Mapping[str, object]) -> Evaluation:
    """Raises BadRequestError: a required attribute is missing or has another type. Unknown ones are ignored."""
    names = [_text(document, part, name) for part, wanted in _NAMES.items() for name in wanted]
    for part in _NAMES:
        _object(document[part], "properties", f"{part}.properties")
    _object(document, "context", "context")
    subject_type, subject_id, action, resource_type, resource_id = names
    return Evaluation(
        subject_type=subject_type,
        subject_id=subject_id,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        document={part: document[part] for part in _PARTS if part in document},
    )


def batch(document: Mapping[str, object]) -> Batch | None:
    """None where there are no `evaluations`: it is then a single question. Raises BadRequestError."""
    items = document.get("evaluations", [])
    if not isinstance(items, list):
        raise BadRequestError("evaluations is not an array")
    options = document.get("options", {})
    if not isinstance(options, dict):
        raise BadRequestError("options is not an object")
    semantic = options.get("evaluations_semantic", EXECUTE_ALL)
    if not isinstance(semantic, str) or semantic not in SEMANTICS:
        raise BadRequestError("options.evaluations_semantic is not one that is known")
    if not items:
        return None
    if len(items) > MAX_ITEMS:
        raise BadRequestError(f"at most {MAX_ITEMS} evaluations are answered at once", code="TOO_LARGE")
    defaults = {part: document[part] for part in _PARTS if part in document}
    return Batch([_item(defaults, item) for item in items], semantic)


def _item(defaults: Mapping[str, object], item: object) -> Evaluation | BadRequestError:
    """Its own parts take the place of the defaults whole."""
    if not isinstance(item, dict):
        return BadRequestError("an evaluation is not an object")
    try:
        return evaluation({**defaults, **item})
    except BadRequestError as error:
        return error


def _text(document: Mapping[str, object], part: str, name: str) -> str:
    holder = document.get(part)
    if not isinstance(holder, dict):
        raise BadRequestError(f"{part} is missing, or not an object")
    value = holder.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise BadRequestError(f"{part}.{name} is missing, or not a text of 1 to {MAX_TEXT} characters")
    return value


def _object(holder: object, name: str, spelt: str) -> None:
    if isinstance(holder, dict) and name in holder and not isinstance(holder[name], dict):
        raise BadRequestError(f"{spelt} is not an object")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BadRequestError("a name stands twice in one object")
    return made


def _no_constant(_text: str) -> object:
    raise BadRequestError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequestError("a number is out of range")
    return number


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadRequestError(f"the body is nested more than {MAX_DEPTH} deep")
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
