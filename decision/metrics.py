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
        "BUDGET_CHANGED",
        "CALL_DENIED",
        "CREDENTIAL_LIMIT",
        "DECISION_UNAVAILABLE",
        "DEV_ISSUER",
        "DEV_OFF_LOOPBACK",
        "HISTORY_CHANGED",
        "INTERNAL",
        "INVALID_REQUEST",
        "INVALID_SCOPE",
        "INVALID_TARGET",
        "LABELS_DERIVED",
        "LOGIN_LIMIT",
        "NOT_FOUND",
        "NOT_SUPPORTED",
        "OBLIGATION_UNMET",
        "OUTCOME_UNKNOWN",
        "PLAN_EXPIRED",
        "PLAN_LIMIT",
        "PLAN_STARTED",
        "PLAN_STEP_MISMATCH",
        "POLICY_DENIED",
        "POLICY_INVALID",
        "POLICY_REFUSED",
        "RECORD_CORRUPT",
        "RECORD_UNAVAILABLE",
        "REQUESTS_CHANGED",
        "REVOCATION_LIMIT",
        "REVOKED",
        "SESSIONS_CHANGED",
        "SESSION_EXPIRED",
        "SETTINGS",
        "SLOW_WATCHER",
        "STATE",
        "TLS",
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
        "TOO_LARGE",
        "UNKNOWN_CONNECTION",
        "UNSUPPORTED_GRANT",
        "USE_DPOP_NONCE",
        "VERDICT_GIVEN",
        "VERDICT_REFUSED",
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
        self._refused = Counter(
            "twokey_sessions_refused", "Sessions that were not opened", ["code"], registry=self.registry
        )
        self.records = Gauge("twokey_records", "Records in the log", registry=self.registry)
        self.sessions_revoked = Counter("twokey_sessions_revoked", "Sessions revoked", registry=self.registry)
        self.watchers = Gauge("twokey_enforcers_watching", "Enforcers watching revocations", registry=self.registry)
        self._certificates = Gauge(
            "twokey_certificate_expiry_timestamp_seconds",
            "When a certificate in use expires, in seconds since 1970",
            ["listener", "part"],
            registry=self.registry,
        )
        self._reloads = Counter(
            "twokey_certificate_reloads",
            "Certificates read again; failed: the former stays in use",
            ["listener", "result"],
            registry=self.registry,
        )
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

    def certificate_expires(self, listener: str, part: str, moment: float) -> None:
        """listener: decision, mutual. part: certificate, clients (the first of the authorities)."""
        self._certificates.labels(listener, part).set(moment)

    def certificate_reloaded(self, listener: str, *, ok: bool) -> None:
        self._reloads.labels(listener, "ok" if ok else "failed").inc()

    def refused(self, code: str) -> None:
        """A session that was not opened."""
        self._refused.labels(_known(code, CODES)).inc()

    def acted(self, count: int) -> None:
        self._acts.inc(count)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def _known(value: str, values: frozenset[str]) -> str:
    return value if value in values else "other"
