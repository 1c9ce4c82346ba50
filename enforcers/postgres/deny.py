"""Denials, errors and notices in PostgreSQL's own words (ErrorResponse and NoticeResponse fields).

Message = reason and rule id, DETAIL = decision id, HINT = next step. Where a statement touches classified columns the
target's own texts are withheld: an error message can quote a value ("invalid input syntax for type integer: …").
"""

from __future__ import annotations

import json

from enforcers.core.errors import code_of
from enforcers.core.ports import Hold, Ruling
from enforcers.postgres import wire

# Classes a client must be able to act on; they tell nothing about a value: transaction rollback, insufficient
# resources, operator intervention, connection, transaction state.
_TOKEN = ("the token was not accepted", "The password is the token. A new one may help; the log says more.")
_LOGIN = {
    "TOKEN_EXPIRED": ("the token has expired", "Connect again with a new token."),
    "TOKEN_ROLE": (
        "the user name must be a role that the token carries",
        "The protocol's user name is the role to activate.",
    ),
    "TOKEN_PROOF": (
        "the token is bound to a key, and this protocol's clients can't prove that they hold it",
        "Use the one-time password of `twokey login`.",
    ),
    "TOKEN_REVOKED": ("the token was revoked", "Log in anew, or ask an administrator why."),
    "TOKEN_SCOPE": ("the token's scopes are for something else", "Ask for a token with this connection's scope."),
    "TOKEN_USED": (
        "the one-time password is used up, too old, or for something else",
        "Get another one by `twokey login`.",
    ),
    "UNKNOWN_CONNECTION": ('connection "{connection}" does not exist', "Its name is the database name."),
    "DECISION_UNAVAILABLE": ("the decision service can't be reached", "Try again in a moment."),
    "RECORD_UNAVAILABLE": ("the audit log can't be written, so no session opens", "Try again in a moment."),
    "DRAINING": ("this gateway is shutting down", "Connect again."),
}
# Where nobody said what to do next.
_NEXT = {
    "OBLIGATION_UNMET": "Tell whoever keeps the policy that this gateway can't do what it demands here.",
    "POLICY_INVALID": "Tell whoever keeps the policy; nothing is allowed until it is mended.",
}
OPEN_CLASSES = frozenset({"40", "53", "57", "08", "25"})


def error(sqlstate: str, text: str, *, detail: str = "", hint: str = "", severity: str = "ERROR") -> bytes:
    return wire.fields(
        b"E",
        [("S", severity), ("V", severity), ("C", sqlstate), ("M", text), ("D", detail), ("H", hint)],
    )


def coded(code: str, text: str, *, detail: str = "", hint: str = "", severity: str = "ERROR") -> bytes:
    """An error by its reason code (docs/errors.md)."""
    return error(code_of(code).sqlstate, text, detail=detail, hint=hint, severity=severity)


def refusal(ruling: Ruling, *, severity: str = "ERROR") -> bytes:
    """A DENIED ruling. The SQLSTATE is the table's; an unknown code is a denial's."""
    text = ruling.message or "denied by policy"
    missing = [rule for rule in ruling.rules if rule not in text]
    if missing:
        text = f"{text} [{', '.join(missing)}]"
    detail = f"Decision: {ruling.decision}" if ruling.decision else ""
    if ruling.hold is not None:
        detail = f"{detail}\n{pending(ruling.hold)}"
    code = ruling.code or "POLICY_DENIED"
    return coded(code, text, detail=detail, hint=ruling.hint or _NEXT.get(code, ""), severity=severity)


def pending(hold: Hold) -> str:
    """The request that is open for a refused statement, as a line of its own that a program can read (docs/errors.md):
    `Pending: ` and one JSON object in ASCII."""
    terms = {"approval": hold.approval, "groups": list(hold.groups), "quorum": hold.quorum, "expires": hold.expires}
    return f"Pending: {json.dumps(terms, separators=(',', ':'))}"


def login(ruling: Ruling, *, connection: str, reference: str) -> bytes:
    """A refused log-in: one of a few fixed sentences, so that nobody learns from it what a token lacks; and an id
    under which the log says more. Only policy's own denials speak for themselves."""
    code = ruling.code or "POLICY_DENIED"
    if code not in _LOGIN and not code.startswith("TOKEN_"):
        return refusal(ruling, severity="FATAL")
    text, hint = _LOGIN.get(code, _TOKEN)
    state = "3D000" if code == "UNKNOWN_CONNECTION" else code_of(code).sqlstate
    return error(
        state,
        text.format(connection=connection[:64].encode("ascii", "backslashreplace").decode()),
        detail=f"Reference: {reference}",
        hint=hint,
        severity="FATAL",
    )


def sqlstate_of(ruling: Ruling) -> str:
    return code_of(ruling.code or "POLICY_DENIED").sqlstate


def notice(text: str, *, detail: str = "", hint: str = "", severity: str = "NOTICE", sqlstate: str = "00000") -> bytes:
    return wire.fields(
        b"N", [("S", severity), ("V", severity), ("C", sqlstate), ("M", text), ("D", detail), ("H", hint)]
    )


def held(hold: Hold) -> bytes:
    """What a person at psql sees while the statement waits."""
    groups = ", ".join(hold.groups) or "a reviewer"
    people = "1 reviewer" if hold.quorum == 1 else f"{hold.quorum} reviewers"
    return notice(
        f"waiting for approval {hold.approval}: {people} of {groups}, until {hold.expires}",
        hint=f"A reviewer runs: twokey approvals show {hold.approval}. Ctrl-C withdraws the request.",
    )


def withheld(raw: bytes) -> bytes:
    """An ErrorResponse or NoticeResponse with nothing in it that a value could reach: severity and SQLSTATE only."""
    fields = wire.parse_fields(raw)
    severity = fields.get("V", fields.get("S", b"ERROR")).decode("ascii", "replace")
    state = fields.get("C", b"XX000").decode("ascii", "replace")
    kind = raw[:1]
    if kind == b"N":
        state = state if state[:2] in OPEN_CLASSES else "00000"
        return notice("a notice of the target is withheld: the statement touches classified columns", severity=severity)
    if state[:2] not in OPEN_CLASSES:
        state = "XX000"
    return error(
        state,
        "the target reported an error; its text is withheld because the statement touches classified columns",
        severity=severity,
    )


_OF_ROWS = frozenset({b"23502", b"23514", b"44000"})  # NOT NULL; CHECK and partitions; WITH CHECK OPTION


def without_row(raw: bytes) -> bytes | None:
    """An ErrorResponse about a row that can't be stored, without its detail, which shows the row. None: it is none."""
    fields = wire.parse_fields(raw)
    if fields.get("C") not in _OF_ROWS or "D" not in fields:
        return None
    fields["D"] = b"The row is not shown: it has classified columns."
    return wire.fields(b"E", [(code, value.decode("utf-8", "replace")) for code, value in fields.items()])


def sqlstate(raw: bytes) -> tuple[str, str]:
    """(SQLSTATE, message) of an ErrorResponse."""
    fields = wire.parse_fields(raw)
    return fields.get("C", b"").decode("ascii", "replace"), fields.get("M", b"").decode("utf-8", "replace")
