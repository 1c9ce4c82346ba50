"""JSON log lines on standard error. Secrets never: what is named like one is replaced before it is written."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

_SECRET: Final = re.compile(r"token|secret|password|passwd|credential|authorization|proof|cookie|private|\bkey\b", re.I)
_HARMLESS: Final = frozenset({"token_id"})
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")
_REPLACED: Final = "[secret]"


def configure(*, service: str, instance: str, stream: TextIO | None = None) -> None:
    """structlog, and the standard library's loggers through it."""
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]

    def add_service(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"], event["instance"] = service, instance
        return event

    ending: list[Any] = [
        add_service,
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def hide_secrets(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values named like secrets, and anything that looks like a JWT anywhere."""
    for key, value in event.items():
        event[key] = _REPLACED if _SECRET.search(key) and key not in _HARMLESS else _clean(value, 0)
    return event


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _JWT.sub(_REPLACED, value)
    if depth > 4:
        return _REPLACED
    if isinstance(value, dict):
        return {key: _REPLACED if _SECRET.search(str(key)) else _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    return value if isinstance(value, int | float | bool | None) else _JWT.sub(_REPLACED, repr(value))
