"""A caller's certificate as gRPC's transport tells of it. Never from metadata, which anybody can write."""

from __future__ import annotations

from typing import Any

from decision.identity.peers import Shown


def shown(context: Any) -> Shown:
    """Of a grpc.aio.ServicerContext, whose stubs don't know `auth_context`."""
    facts = context.auth_context()
    return Shown(
        pem=_one(facts, "x509_pem_cert"),
        chain=_one(facts, "x509_pem_cert_chain"),
        version=_one(facts, "ssl_tls_version").decode("ascii", "replace"),
    )


def _one(facts: Any, name: str) -> bytes:
    """Empty unless there is exactly one: of two nobody knows which one was proved."""
    found = facts.get(name, ())
    return bytes(found[0]) if len(found) == 1 else b""
