"""A decision service whose answers are scripted: real grpc.aio, real TLS, so that faults travel the real way."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import timestamp_pb2
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc
from twokey.audit.v1 import audit_pb2, audit_pb2_grpc
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc
from twokey.enforcer.v1 import describe_pb2, describe_pb2_grpc
from twokey.type.v1 import decision_pb2 as type_pb2
from twokey.type.v1 import operation_pb2, subject_pb2

from enforcers.settings import Account, Address, Connection, Run, Settings

SECRET = "s" * 43
REVISION = "a" * 64
ISSUER = "urn:twokey:dev"


class Authority:
    """A run's certificate authority and the service's certificate under it."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "twokey run")])
        now = datetime.datetime.now(datetime.UTC)
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        leaf = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "decision service")]))
            .issuer_name(name)
            .public_key(leaf.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        self.ca = self._cert.public_bytes(serialization.Encoding.PEM)
        self.cert = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(seconds))


def allow(**changes: object) -> decision_pb2.DecideResponse:
    """An ordinary allow under windowed durability with a lease."""
    decision = type_pb2.Decision(id="dec_1", outcome=type_pb2.OUTCOME_ALLOW, revision=REVISION)
    decision.durability = type_pb2.DURABILITY_WINDOWED
    decision.window.records = 4
    decision.window.delay.FromMilliseconds(5000)
    decision.lease.ttl.FromMilliseconds(30_000)
    response = decision_pb2.DecideResponse(decision=decision, record=7)
    for name, value in changes.items():
        setattr(response, name, value)
    return response


def deny(code: str = "POLICY_DENIED") -> decision_pb2.DecideResponse:
    reason = type_pb2.Reason(rule="sql.planner-write", reason="planners don't write", next="ask an executor")
    return decision_pb2.DecideResponse(
        decision=type_pb2.Decision(
            id="dec_2", outcome=type_pb2.OUTCOME_DENY, revision=REVISION, reasons=[reason], reason_code=code
        ),
        record=8,
    )


def hold() -> decision_pb2.DecideResponse:
    decision = type_pb2.Decision(id="dec_3", outcome=type_pb2.OUTCOME_REQUIRE_APPROVAL, revision=REVISION)
    decision.approval.id = "apr_1"
    decision.approval.groups.append("dba")
    decision.approval.quorum = 1
    decision.approval.expires.CopyFrom(timestamp(2_000_000_000))
    return decision_pb2.DecideResponse(decision=decision, record=9)


def opened(request: decision_pb2.OpenSessionRequest) -> decision_pb2.OpenSessionResponse:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    return decision_pb2.OpenSessionResponse(
        session=decision_pb2.Session(
            id="ses_1",
            subject=subject_pb2.Subject(
                identity=subject_pb2.Identity(iss=ISSUER, sub="planner-1", name="planner-1"), role=request.role
            ),
            connection=request.connection,
            role=request.role,
            opened=timestamp(now),
            expires=timestamp(now + 600),
        ),
        revision=REVISION,
        decision=type_pb2.Decision(id="dec_0", outcome=type_pb2.OUTCOME_ALLOW, revision=REVISION),
    )


Decide = Callable[[decision_pb2.DecideRequest], Awaitable[decision_pb2.DecideResponse]]


async def always_allow(_: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
    return allow()


class ScriptedService(
    decision_pb2_grpc.DecisionServiceServicer,
    approval_pb2_grpc.ApprovalServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
    describe_pb2_grpc.DescribeServiceServicer,
):
    """Everything it answers is an attribute to change; everything it was asked is kept."""

    def __init__(self) -> None:
        self.decide: Decide = always_allow
        self.open: Callable[[decision_pb2.OpenSessionRequest], decision_pb2.OpenSessionResponse] = opened
        self.revision = REVISION
        self.decided: list[decision_pb2.DecideRequest] = []
        self.streamed: list[decision_pb2.DecideRequest] = []  # those of them that came on a DecideStream
        self.streams = 0  # DecideStream calls begun
        self.batches: list[audit_pb2.RecordActsRequest] = []
        self.record_streams = 0  # RecordActsStream calls begun
        self.record: Callable[[audit_pb2.RecordActsRequest], Awaitable[grpc.StatusCode | None]] | None = None
        self.closed: list[str] = []
        self.withdrawn: list[str] = []
        self.withdraw_status: grpc.StatusCode | None = None
        self.approvals: asyncio.Queue[approval_pb2.Approval | None] = asyncio.Queue()
        self.news: asyncio.Queue[decision_pb2.WatchRevocationsResponse | None] = asyncio.Queue()
        self.watching = asyncio.Event()
        self.beat = 0.1
        self.questions: asyncio.Queue[describe_pb2.AttachResponse | None] = asyncio.Queue()
        self.answers: asyncio.Queue[describe_pb2.AttachRequest] = asyncio.Queue()
        self.refused_callers = 0
        self.port = 0
        self.server: grpc.aio.Server | None = None

    def acts(self) -> list[audit_pb2.Act]:
        return [act for batch in self.batches for act in batch.acts]

    async def _known(self, context: grpc.aio.ServicerContext) -> None:
        if dict(context.invocation_metadata() or ()).get("x-twokey-enforcer") != SECRET:
            self.refused_callers += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "not an enforcer")

    async def OpenSession(self, request, context):
        await self._known(context)
        return self.open(request)

    async def Decide(self, request, context):
        await self._known(context)
        self.decided.append(request)
        return await self.decide(request)

    async def DecideStream(self, request_iterator, context):
        await self._known(context)
        self.streams += 1
        writing = asyncio.Lock()

        async def answer(request: decision_pb2.DecideRequest) -> None:
            self.decided.append(request)
            self.streamed.append(request)
            response = await self.decide(request)
            if not response.operation:
                response.operation = request.operation.id
            async with writing:
                await context.write(response)

        async with asyncio.TaskGroup() as group:
            async for request in request_iterator:
                group.create_task(answer(request))

    async def CloseSession(self, request, context):
        await self._known(context)
        self.closed.append(request.session)
        return decision_pb2.CloseSessionResponse()

    async def WatchRevocations(self, request, context):
        await self._known(context)
        self.watching.set()
        while True:
            yield decision_pb2.WatchRevocationsResponse(revision=self.revision)
            try:
                async with asyncio.timeout(self.beat):
                    message = await self.news.get()
            except TimeoutError:
                continue
            if message is None:
                return
            yield message

    async def RecordActs(self, request, context):
        await self._known(context)
        status = await self.record(request) if self.record is not None else None
        if status is not None:
            await context.abort(status, "scripted")
        self.batches.append(request)
        return audit_pb2.RecordActsResponse(last_record=1)

    async def RecordActsStream(self, request_iterator, context):
        self.record_streams += 1
        async for request in request_iterator:
            await context.write(await self.RecordActs(request, context))

    async def Watch(self, request, context):
        await self._known(context)
        while (approval := await self.approvals.get()) is not None:
            yield approval

    async def Withdraw(self, request, context):
        await self._known(context)
        self.withdrawn.append(request.id)
        if self.withdraw_status is not None:
            await context.abort(self.withdraw_status, "scripted")
        return approval_pb2.Approval(id=request.id)

    async def Attach(self, request_iterator, context) -> AsyncIterator[describe_pb2.AttachResponse]:
        await self._known(context)

        async def collect() -> None:
            async for answer in request_iterator:
                await self.answers.put(answer)

        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(collect())
            while (question := await self.questions.get()) is not None:
                yield question
            collecting.cancel()


async def start_service(
    service: ScriptedService,
    authority: Authority | None = None,
    *,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[grpc.aio.Server, int]:
    """Of the authority's certificate, or with credentials of one's own."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)])
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(service, server)
    approval_pb2_grpc.add_ApprovalServiceServicer_to_server(service, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(service, server)
    describe_pb2_grpc.add_DescribeServiceServicer_to_server(service, server)
    if authority is not None:
        credentials = grpc.ssl_server_credentials([(authority.key, authority.cert)])
    bound = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    return server, bound


def settings_for(authority: Authority, port: int, *, secret: str = SECRET) -> Settings:
    return Settings(
        run=Run(instance="enf-test", dev=True, enforcer_secret=secret, ca=authority.ca),
        decision=Address("127.0.0.1", port),
        listen={"crm": Address("127.0.0.1", 0)},
        workers=1,
        connections={
            "crm": Connection(
                name="crm",
                environment="production",
                upstream="postgresql://127.0.0.1:5432/crm",
                credentials={"planner": Account(user="crm_ro", password=None)},
            )
        },
    )


def operation(number: int = 1) -> operation_pb2.Operation:
    made = operation_pb2.Operation(id=f"op_{number}", connection="crm", digest=b"d" * 32, shape_digest=b"s" * 32)
    made.sql.command = "SELECT"
    made.sql.values.statement = b"select 1"
    return made
