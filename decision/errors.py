"""Every error the decision service raises on purpose, and the reason code each one shows.

    DecisionError
    ├── BadRequestError          the caller's message can't be read            INVALID_REQUEST
    ├── NotFoundError            no such id, or not for this caller            NOT_FOUND
    ├── StateError               the thing is not in a state that allows it    (code given)
    ├── CallerError              the caller may not call this                  CALL_DENIED
    ├── TokenError               the token is missing, forged, expired …       TOKEN_* (code given)
    ├── PolicyError              policy answered nothing usable                POLICY_INVALID
    ├── PolicyUnavailableError   OPA can't be asked                            DECISION_UNAVAILABLE
    ├── PolicyLoadError          a policy or its data was refused at load      POLICY_REFUSED
    ├── StoreError               the store can't be read or written            DECISION_UNAVAILABLE
    └── RecordError              the record could not be made durable          RECORD_UNAVAILABLE

`str(error)` is for people and never holds a secret. `code` is stable and listed in docs/errors.md.
"""

from __future__ import annotations


class DecisionError(Exception):
    """Base of the tree above."""

    code = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.next_step = next_step


class BadRequestError(DecisionError):
    code = "INVALID_REQUEST"


class NotFoundError(DecisionError):
    code = "NOT_FOUND"


class StateError(DecisionError):
    code = "STATE"


class CallerError(DecisionError):
    code = "CALL_DENIED"


class TokenError(DecisionError):
    code = "TOKEN_INVALID"


class PolicyError(DecisionError):
    code = "POLICY_INVALID"


class PolicyUnavailableError(DecisionError):
    code = "DECISION_UNAVAILABLE"


class PolicyLoadError(DecisionError):
    code = "POLICY_REFUSED"


class StoreError(DecisionError):
    code = "DECISION_UNAVAILABLE"


class RecordError(DecisionError):
    code = "RECORD_UNAVAILABLE"
