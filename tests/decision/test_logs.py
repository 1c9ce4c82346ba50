"""decision.logs: one JSON object a line, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from decision import logs

JWT = "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(service="decision", instance="svc-1", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_are_json_whatever_is_in_them(out: io.StringIO) -> None:
    structlog.get_logger("x").info('odd\n","level":"forged', who="a\r\nb\x1b[31m")
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert event["service"] == "decision"
    assert event["instance"] == "svc-1"
    assert event["level"] == "info"
    assert event["who"] == "a\r\nb\x1b[31m"
    assert "\x1b" not in line


def test_no_secret_is_written(out: io.StringIO) -> None:
    log = structlog.get_logger("x")
    log.info(
        "a", token="canary-1", password="canary-2", authorization="canary-3", nested={"enforcer_secret": "canary-4"}
    )
    log.info(f"got Bearer {JWT}", text=f"x {JWT} y", items=[JWT], thing=RuntimeError(JWT))
    try:
        raise RuntimeError(JWT)
    except RuntimeError:
        log.exception("b")
    logging.getLogger("grpc").error("from the library %s", JWT)
    text = out.getvalue()
    assert "canary" not in text
    assert JWT not in text
    assert len([json.loads(line) for line in text.splitlines()]) == 4


def test_token_ids_may_be_written(out: io.StringIO) -> None:
    structlog.get_logger("x").info("a", token_id="jti-1")
    assert json.loads(out.getvalue())["token_id"] == "jti-1"
