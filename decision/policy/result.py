"""The strict reading of `data.twokey.main.decision` (docs/architecture.md): exactly valid, or a denial.

OPA answers whatever Rego builds. Nothing here guesses, defaults or repairs: a missing or extra key, a wrong type, an
unknown word or parts that contradict each other raise PolicyError, which every caller treats as deny.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

from decision.errors import PolicyError
from decision.model import ApprovalTerms, Budget, Durability, Obligation, Outcome, PolicyResult, Reason
from decision.policy import maskers

Word = TypeVar("Word", bound=enum.StrEnum)

_KEYS = frozenset({"outcome", "reasons", "obligations", "needs", "approval", "lease", "durability", "window"})
_NEEDS = frozenset({"values", "estimate", "budgets", "history"})
_MAX_LIMIT = 1000  # units of a budget
_MAX_SECONDS = 86_400

_MAX_ITEMS = 4096
_MAX_TEXT = 4096
_MAX_LEASE_MS = 3_600_000
_MAX_EXPIRES_S = 30 * 86_400
_MAX_NUMBER = 2**53 - 1
_MAX_OUTPUT = 1664  # columns of a result, PostgreSQL's own limit


class ObligationType(enum.StrEnum):
    """The closed list of design section 3. The enforcer denies those that it can't meet yet."""

    MASK_COLUMNS = "mask-columns"
    MAX_ROWS = "max-rows"
    MAX_BYTES = "max-bytes"
    MAX_DURATION = "max-duration"
    READ_ONLY = "read-only"
    STATEMENT_TIMEOUT = "statement-timeout"
    RECORD_SESSION = "record-session"
    RECORD_INPUT = "record-input"
    NOTIFY = "notify"
    REQUIRE_REASON = "require-reason"
    CLASSIFY = "classify"
    MASK_OUTPUT = "mask-output"


def check_result(raw: object, *, revision: str, on_shape: bool) -> PolicyResult:
    """The checked answer to one question.

    `raw` is parsed JSON; `revision` that of the policy that answered; `on_shape` says that the question held no
    values: only then may the answer carry a lease or need values (design, section 4). Raises PolicyError.
    """
    counted = isinstance(raw, dict) and "counts" in raw  # policies of one's own may know no budgets
    fields = _object(raw, "the decision", _KEYS | {"counts"} if counted else _KEYS)
    outcome = _enum(Outcome, fields["outcome"], "outcome")
    reasons = tuple(_reason(item, index) for index, item in enumerate(_list(fields["reasons"], "reasons")))
    obligations = tuple(_obligation(item, i) for i, item in enumerate(_list(fields["obligations"], "obligations")))
    needs = _needs(fields["needs"])
    lease = _lease(fields["lease"])
    durability = _enum(Durability, fields["durability"], "durability")
    window = _window(fields["window"])
    approval = _approval(fields["approval"])
    result = PolicyResult(
        outcome=outcome,
        reasons=reasons,
        obligations=obligations,
        needs=needs,
        approval=approval,
        lease_ttl_ms=lease,
        durability=durability,
        window=window,
        revision=revision,
        counts=_counts(fields["counts"]) if counted else (),
    )
    _agree(result, on_shape=on_shape)
    return result


def _agree(result: PolicyResult, *, on_shape: bool) -> None:
    """The parts may not contradict each other."""
    masks = [item for item in result.obligations if item.type == ObligationType.MASK_COLUMNS]
    passes = result.outcome in {Outcome.ALLOW, Outcome.MASK_COLUMNS}
    if result.outcome is Outcome.MASK_COLUMNS and not masks:
        _refuse("outcome mask-columns comes without a mask-columns obligation")
    if result.outcome is Outcome.ALLOW and masks:
        _refuse("outcome allow comes with a mask-columns obligation")
    if result.outcome is Outcome.REQUIRE_APPROVAL and result.approval is None:
        _refuse("outcome require-approval comes without approval terms")
    if result.lease_ttl_ms is not None and not (passes and on_shape and not result.needs):
        _refuse("a lease may only come with an allow or mask-columns given on the shape")
    if result.lease_ttl_ms is not None and result.counts:
        _refuse("what counts against a budget comes with a lease")
    if "budgets" in result.needs and not result.counts:
        _refuse("budgets are needed though nothing counts against any")
    windowed = result.durability is Durability.WINDOWED
    if windowed and (result.lease_ttl_ms is None or result.window is None):
        _refuse("durability windowed comes without a lease or a window")
    if "values" in result.needs and not on_shape:
        _refuse("values are needed though the question held them")


def _reason(raw: object, index: int) -> Reason:
    where = f"reasons[{index}]"
    fields = _object(raw, where, {"rule", "reason", "next"})
    return Reason(
        rule=_text(fields["rule"], f"{where}.rule", least=1),
        reason=_text(fields["reason"], f"{where}.reason", least=1),
        next=_text(fields["next"], f"{where}.next"),
    )


def _needs(raw: object) -> tuple[str, ...]:
    needs = tuple(_text(item, "needs") for item in _list(raw, "needs"))
    if not _NEEDS.issuperset(needs) or len(set(needs)) != len(needs):
        _refuse("needs holds something else than values, estimate, budgets and history, each once")
    return needs


def _counts(raw: object) -> tuple[Budget, ...]:
    found: dict[str, Budget] = {}
    for index, item in enumerate(_list(raw, "counts")):
        where = f"counts[{index}]"
        fields = _object(item, where, {"budget", "limit", "seconds"})
        name = _text(fields["budget"], f"{where}.budget", least=1)
        limit = _int(fields["limit"], f"{where}.limit", 1, _MAX_LIMIT)
        found[name] = Budget(name, limit, _int(fields["seconds"], f"{where}.seconds", 1, _MAX_SECONDS))
        if len(found) != index + 1:
            _refuse("counts names a budget twice")
    return tuple(sorted(found.values(), key=lambda one: one.name))


def _approval(raw: object) -> ApprovalTerms | None:
    if raw is None:
        return None
    cooling = isinstance(raw, dict) and "again_s" in raw
    keys = {"groups", "quorum", "expires_s"}
    fields = _object(raw, "approval", keys | {"again_s"} if cooling else keys)
    groups = tuple(_text(item, "approval.groups", least=1) for item in _list(fields["groups"], "approval.groups"))
    if not groups or len(set(groups)) != len(groups):
        _refuse("approval.groups is empty or names a group twice")
    return ApprovalTerms(
        groups=groups,
        quorum=_int(fields["quorum"], "approval.quorum", 1, 100),
        expires_s=_int(fields["expires_s"], "approval.expires_s", 1, _MAX_EXPIRES_S),
        again_s=_int(fields["again_s"], "approval.again_s", 1, _MAX_EXPIRES_S) if cooling else None,
    )


def _lease(raw: object) -> int | None:
    if raw is None:
        return None
    return _int(_object(raw, "lease", {"ttl_ms"})["ttl_ms"], "lease.ttl_ms", 1, _MAX_LEASE_MS)


def _window(raw: object) -> tuple[int, int] | None:
    if raw is None:
        return None
    fields = _object(raw, "window", {"records", "delay_ms"})
    records = _int(fields["records"], "window.records", 1, 65_536)
    return records, _int(fields["delay_ms"], "window.delay_ms", 1, 60_000)


def _obligation(raw: object, index: int) -> Obligation:
    where = f"obligations[{index}]"
    fields = _object(raw, where, {"type", "parameters"})
    kind = _enum(ObligationType, fields["type"], f"{where}.type")
    check = _PARAMETERS.get(kind, _any_parameters)
    return Obligation(type=kind.value, parameters=check(fields["parameters"], f"{where}.parameters"))


Parameters = Mapping[str, object]


def _mask_columns(raw: object, where: str) -> Parameters:
    """`columns` by name, `outputs` by their place in the result; at least one, and `outputs` may be left out."""
    positions = isinstance(raw, dict) and "outputs" in raw
    fields = _object(raw, where, {"columns", "outputs"} if positions else {"columns"})
    columns = _list(fields["columns"], f"{where}.columns")
    outputs = _list(fields["outputs"], f"{where}.outputs") if positions else ()
    if not columns and not outputs:
        _refuse(f"{where}.columns is empty")
    for index, item in enumerate(columns):
        here = f"{where}.columns[{index}]"
        column = _object(item, here, {"schema", "relation", "column", "label", "masker"})
        for key in ("schema", "relation", "column", "label"):
            _text(column[key], f"{here}.{key}", least=1)
        _masker(column["masker"], f"{here}.masker")
    for index, item in enumerate(outputs):
        here = f"{where}.outputs[{index}]"
        output = _object(item, here, {"position", "label", "masker"})
        _int(output["position"], f"{here}.position", 1, _MAX_OUTPUT)
        _text(output["label"], f"{here}.label", least=1)
        _masker(output["masker"], f"{here}.masker")
    return fields


def _masker(raw: object, where: str) -> None:
    wrong = maskers.fault(raw)
    if wrong:
        _refuse(f"{where} {wrong}")


def _max_rows(raw: object, where: str) -> Parameters:
    least = isinstance(raw, dict) and "least" in raw
    fields = _object(raw, where, {"rows", "least"} if least else {"rows"})
    _int(fields["rows"], f"{where}.rows", 0, _MAX_NUMBER)
    if least:
        _int(fields["least"], f"{where}.least", 1, _MAX_NUMBER)
    return fields


def _max_bytes(raw: object, where: str) -> Parameters:
    fields = _object(raw, where, {"bytes"})
    _int(fields["bytes"], f"{where}.bytes", 1, _MAX_NUMBER)
    return fields


def _milliseconds(raw: object, where: str) -> Parameters:
    fields = _object(raw, where, {"ms"})
    _int(fields["ms"], f"{where}.ms", 1, 2**31 - 1)
    return fields


def _classify(raw: object, where: str) -> Parameters:
    fields = _object(raw, where, {"columns"})
    columns = _list(fields["columns"], f"{where}.columns")
    if not columns:
        _refuse(f"{where}.columns is empty")
    for index, item in enumerate(columns):
        here = f"{where}.columns[{index}]"
        column = _object(item, here, {"schema", "relation", "column", "label"})
        for key in ("schema", "relation", "column", "label"):
            _text(column[key], f"{here}.{key}", least=1)
    return fields


def _no_parameters(raw: object, where: str) -> Parameters:
    return _object(raw, where, frozenset())


def _any_parameters(raw: object, where: str) -> Parameters:
    if not isinstance(raw, dict):
        _refuse(f"{where} is not an object")
    return raw


_PARAMETERS: Mapping[ObligationType, Callable[[object, str], Parameters]] = {
    ObligationType.MASK_COLUMNS: _mask_columns,
    ObligationType.MAX_ROWS: _max_rows,
    ObligationType.MAX_BYTES: _max_bytes,
    ObligationType.MAX_DURATION: _milliseconds,
    ObligationType.STATEMENT_TIMEOUT: _milliseconds,
    ObligationType.CLASSIFY: _classify,
    ObligationType.READ_ONLY: _no_parameters,
    ObligationType.REQUIRE_REASON: _no_parameters,
}


def _object(raw: object, where: str, keys: frozenset[str] | set[str]) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        _refuse(f"{where} is not an object")
    if raw.keys() != keys:
        missing = sorted(keys - raw.keys())
        extra = sorted(str(key)[:64] for key in raw.keys() - keys)
        _refuse(f"{where} lacks {missing} and has unknown {extra[:8]}")
    return raw


def _list(raw: object, where: str) -> Sequence[object]:
    if not isinstance(raw, list) or len(raw) > _MAX_ITEMS:
        _refuse(f"{where} is not a list of at most {_MAX_ITEMS}")
    return raw


def _text(raw: object, where: str, *, least: int = 0) -> str:
    if not isinstance(raw, str) or not least <= len(raw) <= _MAX_TEXT:
        _refuse(f"{where} is not a text of {least} to {_MAX_TEXT} characters")
    return raw


def _int(raw: object, where: str, least: int, most: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= most:
        _refuse(f"{where} is not a whole number from {least} to {most}")
    return raw


def _enum(kind: type[Word], raw: object, where: str) -> Word:
    if not isinstance(raw, str) or raw not in kind.__members__.values():
        _refuse(f"{where} is not one of {', '.join(kind)}")
    return kind(raw)


def _refuse(what: str) -> NoReturn:
    raise PolicyError(
        f"policy answered nothing usable: {what}",
        next_step="Tell whoever keeps the policy; nothing is allowed until it is mended",
    )
