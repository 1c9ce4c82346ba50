"""How name, type and values are weighed."""

from __future__ import annotations

from decision.cli.suggest.propose import Proposal, propose
from decision.cli.suggest.sample import Sample
from decision.cli.target_columns import TargetColumn
from decision.columns import ColumnName

MAILS = tuple(f"user{n}@example.org" for n in range(20))
WORDS = tuple(f"thing {n}" for n in range(20))


def made(name: str, kind: str, values: tuple[str, ...]) -> Proposal | None:
    column = TargetColumn(
        ColumnName("public", "t", name),
        1,
        1,
        "r",
        kind,
        20,
        labels=frozenset(),
        parents=(),
        readable=True,
        builtin_type=True,
    )
    return propose(column, Sample(values))


def test_values_count_more_than_names() -> None:
    assert made("x", "text", MAILS) == Proposal(
        ColumnName("public", "t", "x"),
        "email",
        "high",
        "20 of 20 values are e-mail addresses",
        "text",
        20,
        20,
        by_name=False,
    )
    assert made("email", "text", WORDS) is None


def test_both_or_the_name_alone() -> None:
    both = made("email", "text", MAILS)
    assert both is not None
    assert both.why.startswith("its name, and 20 of 20")
    alone = made("email", "text", ())
    assert alone is not None
    assert (alone.confidence, alone.why) == ("low", "its name; too few values to tell")


def test_types_that_can_not_hold_it() -> None:
    assert made("email", "boolean", ()) is None
    assert made("email", "integer", ()) is None
    assert made("born", "date", ()) is not None
    assert made("born", "integer", ()) is None


def test_addresses_within_text_and_documents() -> None:
    texts = tuple(f"wrote to user{n}@example.org" if n % 2 else f"nothing {n}" for n in range(20))
    for kind in ("text", "jsonb"):
        found = made("x", kind, texts)
        assert found is not None
        assert (found.label, found.confidence, found.matched) == ("email", "medium", 10)


def test_inet_speaks_for_itself() -> None:
    found = made("x", "inet", ())
    assert found is not None
    assert found.label == "ip"
