"""Prometheus metrics of the decision service. Every label has a closed set of values: what isn't known is "other"."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

OUTCOMES = frozenset({"allow", "deny", "mask-columns", "require-approval", "needs"})
CODES = frozenset(
    {
        "",
        "APPROVAL_APPROVED",
        "APPROVAL_DENIED",
        "APPROVAL_EXPIRED",
        "APPROVAL_LIMIT",
        "APPROVAL_MISMATCH",
        "APPROVAL_PENDING",
        "APPROVAL_REDEEMED",
        "CALL_DENIED",
        "DECISION_UNAVAILABLE",
        "INTERNAL",
        "INVALID_REQUEST",
        "NOT_FOUND",
        "NOT_SUPPORTED",
        "OUTCOME_UNKNOWN",
        "POLICY_DENIED",
        "POLICY_INVALID",
        "RECORD_UNAVAILABLE",
        "REVOKED",
        "SESSION_EXPIRED",
        "TOKEN_ALG",
        "TOKEN_AUDIENCE",
        "TOKEN_CLAIMS",
        "TOKEN_EXPIRED",
        "TOKEN_INVALID",
        "TOKEN_ISSUER",
        "TOKEN_KEYS_UNAVAILABLE",
        "TOKEN_MALFORMED",
        "TOKEN_MISSING",
        "TOKEN_NOT_YET",
        "TOKEN_PROOF",
        "TOKEN_REVOKED",
        "TOKEN_ROLE",
        "TOKEN_SCOPE",
        "TOKEN_SIGNATURE",
        "TOKEN_TYPE",
        "TOKEN_USED",
        "UNKNOWN_CONNECTION",
        "USE_DPOP_NONCE",
        "WITHDRAWN",
    }
)
_FAST = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 5.0)


class Metrics:
    """One service's metrics in a registry of their own."""

    def __init__(self, *, rpcs: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._rpcs = frozenset(rpcs)
        self._decisions = Counter("twokey_decisions", "Decisions answered", ["outcome", "code"], registry=self.registry)
        self._decided: dict[tuple[str, str], Counter] = {}  # as many as there are labels
        self._decision_seconds = Histogram(
            "twokey_decision_seconds", "Decide, record included", buckets=_FAST, registry=self.registry
        )
        self._calls = Counter("twokey_rpc", "Calls ended", ["rpc", "code"], registry=self.registry)
        self._policy_seconds = Histogram(
            "twokey_policy_seconds", "One question to OPA", buckets=_FAST, registry=self.registry
        )
        self._acts = Counter("twokey_acts_recorded", "Acts recorded", registry=self.registry)
        self.records = Gauge("twokey_records", "Records in the log", registry=self.registry)
        self.sessions_revoked = Counter("twokey_sessions_revoked", "Sessions revoked", registry=self.registry)
        self.watchers = Gauge("twokey_enforcers_watching", "Enforcers watching revocations", registry=self.registry)
        self.ready = Gauge("twokey_ready", "1 when decisions can be made", registry=self.registry)

    def decided(self, outcome: str, code: str, seconds: float) -> None:
        key = (_known(outcome, OUTCOMES), _known(code, CODES))
        counter = self._decided.get(key)
        if counter is None:
            counter = self._decided[key] = self._decisions.labels(*key)
        counter.inc()
        self._decision_seconds.observe(seconds)

    def asked(self, seconds: float) -> None:
        self._policy_seconds.observe(seconds)

    def called(self, rpc: str, code: str) -> None:
        self._calls.labels(_known(rpc, self._rpcs), _known(code, CODES)).inc()

    def acted(self, count: int) -> None:
        self._acts.inc(count)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def _known(value: str, values: frozenset[str]) -> str:
    return value if value in values else "other"
