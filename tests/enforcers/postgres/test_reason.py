"""SET twokey.reason: what is read as one, and how it follows transactions as PostgreSQL's own settings do."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcers.postgres.reason import MAX_CHARACTERS, BadReason, Reason, ReasonChange, Scope, read_change
from tests.enforcers.postgres.conftest import Postgres

READ = [
    ("SET twokey.reason = 'a''b'", ReasonChange("a'b", Scope.SESSION, "SET")),
    ("set session twokey.Reason to E'x\\ny';", ReasonChange("x\ny", Scope.SESSION, "SET")),
    ("/* why */ SET LOCAL twokey.reason TO $$because$$", ReasonChange("because", Scope.TRANSACTION, "SET")),
    ('SET "twokey"."reason" = \'x\'', ReasonChange("x", Scope.SESSION, "SET")),
    ("SET twokey.reason TO DEFAULT", ReasonChange(None, Scope.SESSION, "SET")),
    ("RESET twokey.reason", ReasonChange(None, Scope.SESSION, "RESET")),
    ("SET twokey.reason = ''", ReasonChange("", Scope.SESSION, "SET")),
]


@pytest.mark.parametrize(("text", "change"), READ)
def test_what_is_read(text: str, change: ReasonChange) -> None:
    assert read_change(text.encode()) == change


@pytest.mark.parametrize(
    "text",
    [
        "SET twokey.reason = 12",
        "SET twokey.reason = 'a', 'b'",
        "SET twokey.reason FROM CURRENT",
        f"SET twokey.reason = '{'x' * (MAX_CHARACTERS + 1)}'",
    ],
)
def test_what_can_not_be_one(text: str) -> None:
    assert isinstance(read_change(text.encode()), BadReason)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "SET twokey.reason = 'x'; DROP TABLE t",
        "SET twokey.subject = 'x'",
        "SET twokey = 'x'",
        "SELECT set_config('twokey.reason', 'x', false)",
        "ALTER ROLE r SET twokey.reason = 'x'",
        "SET twokey.reason = '",
        "",
        "\xff",
    ],
)
def test_what_is_none(text: str) -> None:
    assert read_change(text.encode("latin-1")) is None


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "RESET", "RESET ALL"]),
        st.tuples(st.sampled_from(["SET", "SET LOCAL"]), st.sampled_from(["a", "b", "c"])),
    ),
    max_size=12,
)


class Model:
    """The gateway's reason, driven as the machine drives it."""

    def __init__(self) -> None:
        self.reason = Reason()
        self.active = False

    def step(self, step: str | tuple[str, str]) -> None:
        if isinstance(step, tuple):
            scope = Scope.TRANSACTION if step[0] == "SET LOCAL" else Scope.SESSION
            self.reason.change(ReasonChange(step[1], scope, "SET"), in_transaction=self.active)
        elif step == "BEGIN":
            self.active = True
        elif step in {"COMMIT", "ROLLBACK"}:
            self.reason.ended(committed=step == "COMMIT")
            self.active = False
        elif step == "RESET":
            self.reason.change(ReasonChange(None, Scope.SESSION, "RESET"), in_transaction=self.active)
        else:
            self.reason.reset(in_transaction=self.active)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_it_follows_transactions_as_the_targets_own_settings_do(postgres: Postgres, steps: list[object]) -> None:
    model = Model()
    with psycopg.connect(postgres.dsn, autocommit=True) as client:
        client.execute("SET a.b = ''")
        client.execute("RESET a.b")
        for step in steps:
            if isinstance(step, tuple):
                client.execute(f"{step[0]} a.b = '{step[1]}'")
                model.step(step)
            else:
                client.execute("RESET a.b" if step == "RESET" else str(step))
                model.step(str(step))
            row = client.execute("SELECT coalesce(current_setting('a.b', true), '')").fetchone()
            assert row is not None
            assert model.reason.text == row[0], steps


def test_a_change_that_the_target_skipped_is_undone() -> None:
    reason = Reason("first")
    applied = reason.change(ReasonChange("second", Scope.SESSION, "SET"), in_transaction=False)
    assert (reason.text, reason.given) == ("second", True)
    reason.undo(applied)
    assert reason.text == "first"
    reason.change(ReasonChange("  ", Scope.SESSION, "SET"), in_transaction=False)
    assert not reason.given
