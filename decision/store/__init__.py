"""Durable state of the decision service: sessions and approvals (docs/decisions/0006-store.md)."""
