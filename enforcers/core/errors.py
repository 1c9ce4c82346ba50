"""Errors of the gateways, and the one table of reason codes (docs/errors.md) with each protocol's own code.

EnforcerError
├── SettingsError            the settings document is wrong; the process does not start
├── CredentialError          a credential source gave nothing usable (never holds the secret)
├── DecisionUnavailableError the decision service did not answer in time, or is not the one we trust
├── StrangerError            whoever answers is not the decision service (svid.py)
├── DescribeError            a question of DescribeService can't be answered; the text is for people
├── UpstreamError            the target can't be reached, or ended the connection
└── ProtocolError            the peer broke its protocol; the connection ends
"""

from __future__ import annotations

from dataclasses import dataclass


class EnforcerError(Exception):
    """Base of the tree above."""


class SettingsError(EnforcerError):
    pass


class CredentialError(EnforcerError):
    pass


class DecisionUnavailableError(EnforcerError):
    pass


class DescribeError(EnforcerError):
    pass


class UpstreamError(EnforcerError):
    pass


class ProtocolError(EnforcerError):
    pass


@dataclass(frozen=True, slots=True)
class Code:
    """One reason code in each protocol's words: SQLSTATE, HTTP status, SSH exit status."""

    sqlstate: str
    http: int
    exit: int


CODES: dict[str, Code] = {
    "POLICY_DENIED": Code("42501", 403, 126),
    "POLICY_INVALID": Code("42501", 403, 126),
    "OBLIGATION_UNMET": Code("42501", 403, 126),
    "APPROVAL_PENDING": Code("55000", 409, 75),
    "APPROVAL_DENIED": Code("42501", 403, 126),
    "APPROVAL_EXPIRED": Code("55000", 403, 126),
    "APPROVAL_MISMATCH": Code("42501", 403, 126),
    "APPROVAL_REDEEMED": Code("55000", 409, 126),
    "APPROVAL_LIMIT": Code("54000", 429, 75),
    "WITHDRAWN": Code("57014", 499, 130),
    "REVOKED": Code("57P01", 401, 126),
    "SESSION_EXPIRED": Code("57P01", 401, 126),
    "UNKNOWN_CONNECTION": Code("3D000", 404, 126),
    "TOKEN_INVALID": Code("28000", 401, 126),
    "TOKEN_ROLE": Code("28000", 401, 126),
    "TOKEN_USED": Code("28P01", 401, 126),
    "TOKEN_KEYS_UNAVAILABLE": Code("57P03", 503, 69),
    "DEV_OFF_LOOPBACK": Code("28000", 403, 126),
    "DECISION_UNAVAILABLE": Code("57P03", 503, 69),
    "RECORD_UNAVAILABLE": Code("57P03", 503, 69),
    "UPSTREAM_UNAVAILABLE": Code("08006", 502, 69),
    "TOO_LARGE": Code("54000", 413, 126),
    "ROW_LIMIT": Code("54000", 413, 126),
    "BYTE_LIMIT": Code("54000", 413, 126),
    "TIME_LIMIT": Code("57014", 408, 126),
    "REASON_REQUIRED": Code("42501", 403, 126),
    "NOT_SUPPORTED": Code("0A000", 501, 126),
    "SYNTAX": Code("42601", 400, 126),
    "PLAN_STEP_MISMATCH": Code("55000", 409, 126),
    "OUTCOME_UNKNOWN": Code("40003", 500, 126),
    "DRAINING": Code("57P01", 503, 69),
}


def code_of(reason_code: str) -> Code:
    """The row of the table; any other TOKEN_* is TOKEN_INVALID's, and a code nobody knows is a denial's."""
    other = "TOKEN_INVALID" if reason_code.startswith("TOKEN_") else "POLICY_DENIED"
    return CODES.get(reason_code, CODES[other])
