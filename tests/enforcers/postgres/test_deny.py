"""What a client is told: fixed sentences at log-in, policy's own words in a session, nothing of a classified value."""

from __future__ import annotations

import pytest

from enforcers.core.ports import Answer, Ruling
from enforcers.postgres import deny, wire

SECRET = "why exactly it was refused"


def shown(code: str, *, connection: str = "crm", rules: tuple[str, ...] = ()) -> dict[str, str]:
    ruling = Ruling(answer=Answer.DENIED, decision="dec_1", code=code, message=SECRET, rules=rules)
    fields = wire.parse_fields(deny.login(ruling, connection=connection, reference="dec_1"))
    return {key: value.decode() for key, value in fields.items()}


@pytest.mark.parametrize(
    ("code", "state", "text"),
    [
        ("TOKEN_EXPIRED", "28000", "the token has expired"),
        ("TOKEN_ROLE", "28000", "the user name must be a role that the token carries"),
        ("TOKEN_SIGNATURE", "28000", "the token was not accepted"),
        ("TOKEN_AUDIENCE", "28000", "the token was not accepted"),
        ("TOKEN_OF_TOMORROW", "28000", "the token was not accepted"),
        ("UNKNOWN_CONNECTION", "3D000", 'connection "crm" does not exist'),
        ("DECISION_UNAVAILABLE", "57P03", "the decision service can't be reached"),
        ("DRAINING", "57P01", "this gateway is shutting down"),
    ],
)
def test_a_refused_login_is_told_a_fixed_sentence_and_an_id(code: str, state: str, text: str) -> None:
    fields = shown(code)
    assert (fields["C"], fields["M"], fields["D"]) == (state, text, "Reference: dec_1")
    assert SECRET not in str(fields)
    assert fields["S"] == "FATAL"


@pytest.mark.parametrize(("hint", "told"), [("", "Tell whoever keeps the policy"), ("split it", "split it")])
@pytest.mark.parametrize("code", ["OBLIGATION_UNMET", "POLICY_INVALID"])
def test_what_policy_can_not_mean_says_whom_to_tell_unless_it_says_more(code: str, hint: str, told: str) -> None:
    ruling = Ruling(answer=Answer.DENIED, decision="dec_1", code=code, message="x", hint=hint)
    assert wire.parse_fields(deny.refusal(ruling))["H"].decode().startswith(told)


def test_a_policys_denial_of_a_session_speaks_for_itself() -> None:
    fields = shown("POLICY_DENIED", rules=("DUTY-SESSION",))
    assert SECRET in fields["M"]
    assert "DUTY-SESSION" in fields["M"]
    assert "dec_1" in fields["D"]


def test_a_connections_name_is_named_without_its_control_characters() -> None:
    assert shown("UNKNOWN_CONNECTION", connection="x\u202ey" + "z" * 100)["M"].isascii()
    assert len(shown("UNKNOWN_CONNECTION", connection="z" * 1000)["M"]) < 100


@pytest.mark.parametrize(("state", "hidden"), [("23502", True), ("23514", True), ("44000", True), ("23505", False)])
def test_an_error_about_a_row_keeps_all_but_the_row(state: str, hidden: bool) -> None:
    told = [("S", "ERROR"), ("C", state), ("M", "null value"), ("D", f"Failing row contains ({SECRET})"), ("t", "x")]
    raw = deny.without_row(wire.fields(b"E", told))
    if not hidden:
        assert raw is None
        return
    assert raw is not None
    fields = wire.parse_fields(raw)
    assert list(fields) == ["S", "C", "M", "D", "t"]
    assert SECRET.encode() not in raw
    assert (fields["C"], fields["M"]) == (state.encode(), b"null value")


def test_an_error_without_a_row_is_passed_on() -> None:
    assert deny.without_row(wire.fields(b"E", [("S", "ERROR"), ("C", "23502"), ("M", "null value")])) is None
