"""Who may call what, as far as transport decides it (docs/callers.md). Which *role* may call is policy.

Every RPC the server offers has a row here; one without a row is refused and fails a test.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class Door(enum.Enum):
    """What a caller must bring."""

    ENFORCER = "enforcer"  # the run's secret; no token will do
    BEARER = "bearer"  # a token, and policy's allow for the question `call`
    EITHER = "either"  # the secret, or as BEARER
    ANYONE = "anyone"  # health


_DECISION = "twokey.decision.v1.DecisionService/"
_APPROVAL = "twokey.approval.v1.ApprovalService/"
_PLAN = "twokey.plan.v1.PlanService/"
_AUDIT = "twokey.audit.v1.AuditService/"

DOORS: Final[Mapping[str, Door]] = {
    **{
        _DECISION + name: Door.ENFORCER
        for name in ("OpenSession", "Decide", "DecideBatch", "DecideStream", "WatchRevocations", "CloseSession")
    },
    **{_DECISION + name: Door.BEARER for name in ("IssueSessionCredential", "Explain", "ListSessions", "Revoke")},
    **{_APPROVAL + name: Door.EITHER for name in ("Get", "Watch", "Withdraw")},
    **{_APPROVAL + name: Door.BEARER for name in ("List", "Approve", "Deny")},
    **{
        _PLAN + name: Door.BEARER
        for name in ("Propose", "Preview", "Get", "List", "Start", "Step", "Finish", "Abort", "Resolve")
    },
    **{_AUDIT + name: Door.ENFORCER for name in ("RecordActs", "RecordActsStream", "PutChunk")},
    **{_AUDIT + name: Door.BEARER for name in ("GetChunk", "GetCheckpoint", "GetProof", "Read")},
    "twokey.enforcer.v1.DescribeService/Attach": Door.ENFORCER,
    "grpc.health.v1.Health/Check": Door.ANYONE,
    "grpc.health.v1.Health/Watch": Door.ANYONE,
    "grpc.health.v1.Health/List": Door.ANYONE,
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Door.BEARER,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Door.BEARER,
}

# Promised by the API, carried out by a later issue.
NOT_YET: Final = frozenset(
    {
        *(_AUDIT + name for name in ("PutChunk", "GetChunk", "GetCheckpoint", "GetProof")),
    }
)
