"""A decision service whose enforcers are known by their certificates, and who calls it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding
from twokey.audit.v1 import audit_pb2_grpc
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.identity.svid import thumbprint
from tests.decision.running import Running, running
from tests.pki import Authority, Pair, address, host, uri

DOMAIN = "spiffe://example.org"
ENFORCERS = f"""enforcers:
  - {{name: gw-1, spiffe: "{DOMAIN}/gw-1"}}
  - {{name: gw-2, dns: gw-2.example.org}}
"""


def x5t(pair: Pair) -> str:
    return thumbprint(pair.certificate.public_bytes(Encoding.DER))


@dataclass
class Mutual:
    run: Running
    authority: Authority
    folder: Path

    @property
    def target(self) -> str:
        return str(self.run.service.ready_line["mutual"])

    def pair(self, name: str = f"{DOMAIN}/gw-1", **how: Any) -> Pair:
        return self.authority.leaf(uri(name), **how)

    def enforcers(self, text: str = ENFORCERS) -> None:
        (self.folder / "enforcers.yaml").write_text(text)

    def bundle(self, *authorities: Authority) -> None:
        (self.folder / "bundle.pem").write_bytes(b"".join(one.pem for one in authorities))

    @contextlib.asynccontextmanager
    async def calling(self, pair: Pair | None, *, target: str = "", roots: bytes = b"") -> AsyncIterator[Caller]:
        shown = (pair.key, pair.chain) if pair is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(roots or self.authority.pem, *shown)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(target or self.target, credentials, options=options) as channel:
            yield Caller(self, channel)


@dataclass
class Caller:
    at: Mutual
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.decision: Any = decision_pb2_grpc.DecisionServiceStub(self.channel)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(self.channel)

    async def open(self, subject: str = "planner-3", role: str = "planner", **fields: str) -> Any:
        request = decision_pb2.OpenSessionRequest(
            token=fields.pop("token", None) or self.at.run.token(subject, role),
            connection="crm",
            role=role,
            protocol="postgres",
            client_address="127.0.0.1:5",
            enforcer="enf-1",
            **fields,
        )
        return await self.decision.OpenSession(request, timeout=20)

    async def refused(self, **fields: str) -> grpc.StatusCode:
        """Why OpenSession fails: UNAVAILABLE where TLS did, PERMISSION_DENIED where the certificate was judged."""
        try:
            await self.open(**fields)
        except grpc.aio.AioRpcError as error:
            return error.code()
        raise AssertionError("it was let in")

    def watch(self) -> Any:
        return self.decision.WatchRevocations(decision_pb2.WatchRevocationsRequest(enforcer="enf-1"))


@contextlib.asynccontextmanager
async def mutual(folder: Path, **how: Any) -> AsyncIterator[Mutual]:
    """The service's own certificate is an SVID that names localhost too. `how`: as `running`."""
    authority = Authority("spire")
    own = authority.leaf(uri(f"{DOMAIN}/decision"), host("localhost"), address("127.0.0.1"))
    certificate, key = own.write(folder, "service")
    (folder / "bundle.pem").write_bytes(authority.pem)
    (folder / "enforcers.yaml").write_text(ENFORCERS)
    tls = {
        "certificate": certificate,
        "key": key,
        "clients": str(folder / "bundle.pem"),
    }
    listeners = {
        "tls": tls,
        "mutual": {"listen": "127.0.0.1:0", "tls": {**tls, "enforcers": str(folder / "enforcers.yaml")}},
    }
    async with running(folder, document=listeners, **how) as run:
        yield Mutual(run, authority, folder)
