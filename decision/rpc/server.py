"""The gRPC listener: TLS, bounds, health, reflection, drain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc
from twokey.audit.v1 import audit_pb2, audit_pb2_grpc
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc
from twokey.enforcer.v1 import describe_pb2, describe_pb2_grpc
from twokey.plan.v1 import plan_pb2, plan_pb2_grpc

from decision.errors import BadRequestError
from decision.rpc.approval_service import ApprovalService
from decision.rpc.audit_service import AuditService
from decision.rpc.decision_service import DecisionService
from decision.rpc.describe_hub import DescribeHub
from decision.rpc.guard import Guard
from decision.rpc.plan_service import PlanService

MAX_MESSAGE: Final = 20 << 20  # a decided message is at most 16 MiB; base64 and protobuf around it
DRAIN_S: Final = 30.0
SERVICES: Final[Sequence[str]] = (
    *(service.full_name for service in decision_pb2.DESCRIPTOR.services_by_name.values()),
    *(service.full_name for service in approval_pb2.DESCRIPTOR.services_by_name.values()),
    *(service.full_name for service in plan_pb2.DESCRIPTOR.services_by_name.values()),
    *(service.full_name for service in audit_pb2.DESCRIPTOR.services_by_name.values()),
    *(service.full_name for service in describe_pb2.DESCRIPTOR.services_by_name.values()),
)
_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE * 3),
    ("grpc.max_metadata_size", 32 << 10),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.so_reuseport", 0),  # nobody else may listen beside us
)


# Where certificates count: a connection was judged by the authorities of its day, so none stands for ever.
_AGEING: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
)

_health: Any = health  # its stubs don't know `aio`


def _register(register: Callable[..., None], servicer: object, server: grpc.aio.Server) -> None:
    """grpcio-tools generates these functions without types."""
    register(servicer, server)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    host, _, _ = address.rpartition(":")
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise BadRequestError(f"{address} can't be bound", next_step="is another service using it?") from None
    return f"{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    decision: DecisionService
    approval: ApprovalService
    audit: AuditService
    describe: DescribeHub
    plan: PlanService
    guard: Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualPort:
    """A second address that asks everybody for a certificate."""

    address: str
    credentials: grpc.ServerCredentials


class Server:
    """Made by `start`, ended by `drain`."""

    def __init__(
        self, server: grpc.aio.Server, health_servicer: Any, guard: Guard, address: str, mutual: str = ""
    ) -> None:
        self._server = server
        self._health = health_servicer
        self._guard = guard
        self._ready: bool | None = None
        self.address = address  # host:port actually bound
        self.mutual = mutual  # of the port that asks for certificates; "" for none

    @classmethod
    async def start(
        cls,
        address: str,
        *,
        credentials: grpc.ServerCredentials,
        services: Services,
        dev: bool,
        mutual: MutualPort | None = None,
    ) -> Server:
        """Listening, not yet ready. Raises BadRequestError when an address can't be bound."""
        options = _OPTIONS if mutual is None else (*_OPTIONS, *_AGEING)
        server = grpc.aio.server(interceptors=[services.guard], options=options)
        health_servicer = _health.aio.HealthServicer()
        for register, servicer in (
            (decision_pb2_grpc.add_DecisionServiceServicer_to_server, services.decision),
            (approval_pb2_grpc.add_ApprovalServiceServicer_to_server, services.approval),
            (audit_pb2_grpc.add_AuditServiceServicer_to_server, services.audit),
            (describe_pb2_grpc.add_DescribeServiceServicer_to_server, services.describe),
            (plan_pb2_grpc.add_PlanServiceServicer_to_server, services.plan),
            (health_pb2_grpc.add_HealthServicer_to_server, health_servicer),
        ):
            _register(register, servicer, server)
        if dev:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        bound = _bind(server, address, credentials)
        certified = _bind(server, mutual.address, mutual.credentials) if mutual is not None else ""
        self = cls(server, health_servicer, services.guard, bound, certified)
        await self.set_ready(False)
        await server.start()
        return self

    async def set_ready(self, ready: bool) -> None:
        """The health service's word, for the whole and for each service."""
        if ready is self._ready:
            return
        self._ready = ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def drain(self, seconds: float = DRAIN_S) -> None:
        """Take nothing new, end the streams, let running calls end."""
        await self._health.enter_graceful_shutdown()
        self._guard.drain()
        await self._server.stop(seconds)
