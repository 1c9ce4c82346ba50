"""A whole decision service in this process: real OPA with the shipped policy, real store, real gRPC over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc
from twokey.audit.v1 import audit_pb2_grpc
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc
from twokey.enforcer.v1 import describe_pb2_grpc
from twokey.type.v1 import operation_pb2

from decision.app import Service
from decision.audit.disk import Disk
from decision.cli.certificates import make
from decision.model import new_id
from decision.ports import Clock
from decision.settings import Settings
from tests.decision.policy.support import opa_path

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = """principals:
  - {name: alice, identities: [{iss: "https://idp.example", sub: a1}], groups: [dba]}
  - {name: bob, identities: [{iss: "https://idp.example", sub: b1}], groups: [dba]}
  - {name: carol, identities: [{iss: "https://idp.example", sub: c1}]}
agents:
  - {name: executor-7, identities: [{iss: "https://idp.example", sub: r1}], owner: alice}
  - {name: planner-3, identities: [{iss: "https://idp.example", sub: r2}], owner: bob}
  - {name: planner-4, identities: [{iss: "https://idp.example", sub: r3}], owner: bob}
"""


@dataclass
class Running:
    service: Service
    channel: grpc.aio.Channel
    secret: str = field(repr=False)
    folder: Path = field(kw_only=True)
    tls_ca: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        self.decision: Any = decision_pb2_grpc.DecisionServiceStub(self.channel)
        self.approval: Any = approval_pb2_grpc.ApprovalServiceStub(self.channel)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.describe: Any = describe_pb2_grpc.DescribeServiceStub(self.channel)

    @property
    def enforcer(self) -> Sequence[tuple[str, str]]:
        return (("x-twokey-enforcer", self.secret),)

    def token(self, subject: str, *roles: str, actors: Sequence[str] = (), ttl_s: int = 600) -> str:
        assert self.service.dev_issuer is not None
        return self.service.dev_issuer.mint(subject, roles, actors, ttl_s=ttl_s)

    def bearer(self, subject: str, *roles: str, actors: Sequence[str] = ()) -> Sequence[tuple[str, str]]:
        return (("authorization", f"Bearer {self.token(subject, *roles, actors=actors)}"),)

    async def open(self, subject: str, role: str, **fields: str) -> Any:
        request = decision_pb2.OpenSessionRequest(
            token=fields.pop("token", None) or self.token(subject, role),
            connection=fields.pop("connection", "crm"),
            role=role,
            protocol="postgres",
            client_address=fields.pop("client_address", "127.0.0.1:5"),
            enforcer=fields.pop("enforcer", "enf-1"),
            **fields,
        )
        return await self.decision.OpenSession(request, metadata=self.enforcer, timeout=20)

    async def session(self, subject: str, role: str) -> str:
        opened = await self.open(subject, role)
        assert opened.session.id.startswith("ses_"), opened
        return str(opened.session.id)

    async def decide(self, session: str, operation: operation_pb2.Operation, **fields: Any) -> Any:
        fields.setdefault("can_hold", True)
        request = decision_pb2.DecideRequest(session=session, operation=operation, **fields)
        return await self.decision.Decide(request, metadata=self.enforcer, timeout=20)


async def comes(run: Running, approval: str, state: int) -> None:
    """Until the approval is in this state, 20 s at most."""
    request = approval_pb2.WatchRequest(ids=[approval])
    async for one in run.approval.Watch(request, metadata=run.enforcer, timeout=20):
        if one.state == state:
            return
    raise AssertionError("the approval ended otherwise")


def operation(
    statement: str, verb: str, *, where: bool = True, rows: float | None = 10, access: str = "", **sql: Any
) -> operation_pb2.Operation:
    """A described statement on public.orders."""
    made = operation_pb2.Operation(id=new_id("op"), connection="crm")
    made.digest = statement.encode().ljust(32, b".")[:32]
    made.shape_digest = verb.encode().ljust(32, b".")[:32]
    made.sql.command = sql.pop("command", verb.upper())
    made.sql.verbs.append(f"sql.{verb}")
    relation = made.sql.relations.add(schema="public", name="orders", oid=1, kind="table", via="direct")
    relation.access.append(access or ("read" if verb == "select" else verb))
    made.sql.has_where = where
    made.sql.returns_rows = verb == "select"
    made.sql.transaction.status = "idle"
    made.sql.statements = 1
    made.sql.search_path.append("public")
    made.sql.effective_role = "app"
    for column in sql.pop("columns", ()):
        made.sql.columns.append(column)
    for output in sql.pop("output", ()):
        made.sql.output.append(output)
    assert not sql
    made.sql.values.statement = statement.encode()
    if rows is not None:
        made.sql.values.estimate.rows = rows
        made.sql.values.estimate.cost = rows * 1.5
    return made


def document_of(folder: Path, secret: str, **changes: Any) -> dict[str, Any]:
    tls = make("test")
    (folder / "people.yaml").write_text(PEOPLE)
    (folder / "crm.yaml").write_text("public.customers.email: email\n")
    return {
        "run": {
            "instance": "svc-test",
            "dev": True,
            "state_dir": str(folder),
            "enforcer_secret": secret,
            "tls": {"ca": tls.ca, "cert": tls.cert, "key": tls.key},
        },
        "grpc": "127.0.0.1:0",
        "http": "127.0.0.1:0",
        "identity": {"issuers": []},
        "people": str(folder / "people.yaml"),
        "policy": {"rego": str(ROOT / "rego"), "data": None},
        "connections": [
            {
                "name": "crm",
                "kind": "postgres",
                "environment": "production",
                "classification": str(folder / "crm.yaml"),
            },
            {"name": "crm-2", "kind": "postgres", "environment": "production", "classification": None},
        ],
        "store": f"sqlite:///{folder / 'state.db'}",
        "audit": {"dir": str(folder / "audit")},
        "opa": {"path": str(opa_path()), "url": None, "token": None},
        **changes,
    }


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    *,
    disk: Disk | None = None,
    watch: bool = False,
    clock: Clock | None = None,
    data: Path | None = None,
    store: str | None = None,
    issuers: Sequence[dict[str, object]] = (),
    people: str | None = None,
    document: Mapping[str, object] | None = None,
) -> AsyncIterator[Running]:
    """data: a folder of policy data of one's own. store: its URL, else a file. people: people.yaml's text. document:
    other members of the settings document."""
    secret = secrets.token_urlsafe(32)
    policy = {"rego": str(ROOT / "rego"), "data": None if data is None else str(data)}
    given = {"identity": {"issuers": list(issuers)}, **({} if store is None else {"store": store})}
    settings = document_of(folder, secret, **{"policy": policy, **given, **(document or {})})
    if people is not None:
        (folder / "people.yaml").write_text(people)
    service = Service(Settings.model_validate(settings), settings, disk=disk, clock=clock, watch=watch, drain_s=1.0)
    await service.start()
    stop = asyncio.Event()
    background = asyncio.ensure_future(service.run(stop))
    ca = settings["run"]["tls"]["ca"].encode()
    if "tls" in settings:
        ca = await asyncio.to_thread(Path(settings["tls"]["certificate"]).read_bytes)
    credentials = grpc.ssl_channel_credentials(ca)
    try:
        async with grpc.aio.secure_channel(str(service.ready_line["grpc"]), credentials) as channel:
            yield Running(service, channel, secret, folder=folder, tls_ca=settings["run"]["tls"]["ca"])
    finally:
        stop.set()
        await background
        await service.stop()
