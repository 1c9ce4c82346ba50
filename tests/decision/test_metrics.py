"""decision.metrics: nothing a caller sends becomes a label."""

from __future__ import annotations

from decision.metrics import Metrics


def test_labels_are_closed_sets() -> None:
    metrics = Metrics(rpcs=["a/b"])
    metrics.decided("allow", "", 0.001)
    metrics.decided("canary-1", "canary-2", 0.001)
    metrics.called("a/b", "POLICY_DENIED")
    metrics.called("canary-3", "canary-4")
    metrics.acted(3)
    text = metrics.text().decode()
    assert "canary" not in text
    assert 'twokey_decisions_total{code="",outcome="allow"} 1.0' in text
    assert 'twokey_decisions_total{code="other",outcome="other"} 1.0' in text
    assert 'twokey_rpc_total{code="POLICY_DENIED",rpc="a/b"} 1.0' in text
    assert "twokey_acts_recorded_total 3.0" in text
