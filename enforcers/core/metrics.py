"""The gateways' metrics: prefix `twokey_`, every label from a closed set, so that no client can grow them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from enforcers.core.ports import Answer

ANSWERS = tuple(answer.value for answer in Answer)
STATUSES = ("completed", "failed", "refused", "not-executed", "unknown")

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.2, 1.0, 2.0)


class Tally:
    """Counts made for every act, as plain numbers; each batch of records carries them into the counters."""

    __slots__ = ("acts", "leased")

    def __init__(self) -> None:
        self.leased = 0
        self.acts = dict.fromkeys(STATUSES, 0)


class Metrics:
    """One registry per worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        rulings = Counter("twokey_rulings", "Decisions as carried out", ["answer"], registry=self.registry)
        acts = Counter("twokey_acts", "Acts by how they ended", ["status"], registry=self.registry)
        # Children looked up once: labels() costs more than the rest of an act.
        self.rulings = {answer: rulings.labels(answer.value) for answer in Answer}
        self.acts = {status: acts.labels(status) for status in STATUSES}
        self.leased = Counter("twokey_leased", "Operations answered from a lease", registry=self.registry)
        self.sessions = Gauge("twokey_sessions", "Open sessions", registry=self.registry)
        self.held = Gauge("twokey_held", "Operations waiting for an approval", registry=self.registry)
        self.decide = Histogram("twokey_decide_seconds", "One Decide", buckets=_SECONDS, registry=self.registry)
        self.unavailable = Counter("twokey_decision_unavailable", "Calls not answered", registry=self.registry)
        self.stream_lost = Counter("twokey_revocation_stream_lost", "Losses of the stream", registry=self.registry)
        self.record_batch = Histogram(
            "twokey_record_batch_acts",
            "Acts per RecordActs",
            buckets=(1, 4, 16, 64, 256, 512),
            registry=self.registry,
        )
        self.record_retries = Counter("twokey_record_retries", "RecordActs sent again", registry=self.registry)
        self.records_refused = Counter("twokey_records_refused", "Acts the service refused", registry=self.registry)
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
        self.records_pending = Gauge("twokey_records_pending", "Acts not yet durable", registry=self.registry)

    def certificate_expires(self, listener: str, part: str, moment: float) -> None:
        """listener: a protocol's, or decision-client. part: certificate, clients, ca (the first of the authorities)."""
        self._certificates.labels(listener, part).set(moment)

    def certificate_reloaded(self, listener: str, *, ok: bool) -> None:
        self._reloads.labels(listener, "ok" if ok else "failed").inc()

    def carry(self, tally: Tally) -> None:
        """Add what was counted since the last call, and begin again from nothing."""
        if tally.leased:
            self.leased.inc(tally.leased)
            tally.leased = 0
        for status, count in tally.acts.items():
            if count:
                self.acts[status].inc(count)
                tally.acts[status] = 0


METRICS = Metrics()
TALLY = Tally()
