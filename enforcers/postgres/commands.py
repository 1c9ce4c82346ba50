"""What the session machine asks of the world. The shell carries each out and feeds the result to `resume`.

Replies: Ask, Redeem -> Ruling; EstimateRows -> RowEstimate; Refresh -> None; Wait -> HoldResult;
Begin -> None, or DecisionUnavailableError as a value. At most one of these is outstanding. CancelTarget is answered by
`cancelled()` and Close by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from twokey.type.v1 import operation_pb2

from enforcers.core.ports import Act, Hold, Question
from enforcers.postgres.description import Description, SessionNames


@dataclass(frozen=True, slots=True)
class Ask:
    question: Question


@dataclass(frozen=True, slots=True)
class Redeem:
    question: Question
    hold: Hold


@dataclass(frozen=True, slots=True)
class Wait:
    hold: Hold


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """The Wait that is outstanding has no purpose any more: answer it as withdrawn. Answered by nothing itself."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Answered by None."""

    hold: Hold
    reason: str


@dataclass(frozen=True, slots=True)
class Begin:
    act: Act


@dataclass(frozen=True, slots=True)
class Refresh:
    """Make the catalog fresh (at most a second old)."""


@dataclass(frozen=True, slots=True)
class EstimateRows:
    """bound is empty for a simple query."""

    description: Description
    names: SessionNames
    bound: tuple[operation_pb2.BoundValue, ...]


@dataclass(frozen=True, slots=True)
class RowEstimate:
    """rows is None when unknown; why then says so."""

    rows: float | None
    cost: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Send the target a CancelRequest; the machine sends nothing new upstream until `cancelled()`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Write what is queued for the client, then end both connections."""

    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Call `alarm(now)` after so many seconds, in place of any alarm set before. Answered by nothing else."""

    seconds: float


Command = Alarm | Ask | Redeem | Wait | StopWaiting | Withdraw | Begin | Refresh | EstimateRows | CancelTarget | Close
