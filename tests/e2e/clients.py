"""Small helpers over real clients, for the end-to-end tests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from decision.cli.demo.stack import DATABASE, SUBJECTS, Stack

APPROVAL = re.compile(r"apr_[a-z0-9]{26}")


@contextmanager
def connect(
    stack: Stack,
    role: str,
    *,
    subject: str | None = None,
    connection: str = DATABASE,
    token: str | None = None,
    notices: list[str] | None = None,
    autocommit: bool = True,
    options: str = "",
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """psycopg 3 through the gateway."""
    host, port = stack.address(connection)
    with psycopg.connect(
        host=host,
        port=port,
        user=role,
        password=token if token is not None else stack.token(subject or SUBJECTS[role], role),
        dbname=connection,
        autocommit=autocommit,
        connect_timeout=10,
        options=options,
    ) as client:
        if notices is not None:
            client.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        yield client


def admin(stack: Stack, sql: str) -> str:
    """Straight to the target as its superuser: what really happened there."""
    return stack.database.run(sql, database=DATABASE)


def until(condition: Callable[[], object], *, timeout_s: float = 15.0, what: str = "the condition") -> object:
    """The condition's first true value. Raises AssertionError when it stays false."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s} s")
        time.sleep(0.05)


def pending(stack: Stack, *, containing: str = "") -> str | None:
    """The id of a pending approval whose statement, or a bound value, contains the text, as the reviewer's list has
    it."""
    done = stack.twokey("approvals", "list", "--json", token=stack.token("bob", "reviewer"))
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        texts = [entry["act"]["statement"], *(value for value in entry["act"]["bound"] if value is not None)]
        if any(containing in text for text in texts):
            return str(entry["id"])
    return None
