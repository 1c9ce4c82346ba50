"""DecisionService: the gRPC face of pipeline, sessions, revocations and explain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.errors import BadRequestError, CallerError
from decision.metrics import Metrics
from decision.pdp.credentials import Asker, SessionCredentials
from decision.pdp.explain import Explain
from decision.pdp.pipeline import Pipeline
from decision.pdp.revocations import Revocations
from decision.pdp.revoking import Revoking, Target
from decision.pdp.session_calls import SessionCalls
from decision.pdp.sessions import Opened, Opening, Sessions
from decision.rpc import convert
from decision.rpc.auth import CALLER
from decision.rpc.decide_stream import DecideStream
from decision.rpc.supervise import Supervisor

MAX_BATCH: Final = 256
_NAME: Final = 256


def peer_address(peer: str) -> str:
    """gRPC's `ipv4:127.0.0.1:1` or `ipv6:%5B::1%5D:1` as `ip:port`; "" for a unix socket."""
    family, _, rest = unquote(peer).partition(":")
    return rest if family in {"ipv4", "ipv6"} else ""


def _by_its_name(opening: Opening) -> Opening:
    """Where the certificate says who the enforcer is, its own word is only which of its processes asks."""
    caller = CALLER.get()
    return (
        replace(opening, enforcer=caller.prefix + opening.enforcer, certified=caller.name) if caller.name else opening
    )


class DecisionService(decision_pb2_grpc.DecisionServiceServicer):
    def __init__(
        self,
        *,
        pipeline: Pipeline,
        sessions: Sessions,
        session_calls: SessionCalls,
        revoking: Revoking,
        credentials: SessionCredentials,
        revocations: Revocations,
        explain: Explain,
        supervisor: Supervisor,
        metrics: Metrics,
    ) -> None:
        self._pipeline = pipeline
        self._sessions = sessions
        self._session_calls = session_calls
        self._revoking = revoking
        self._credentials = credentials
        self._revocations = revocations
        self._explain = explain
        self._supervisor = supervisor
        self._metrics = metrics
        self._watching: Counter[str] = Counter()

    @property
    def watching(self) -> frozenset[str]:
        """Enforcers with a watching stream: they live."""
        return frozenset(self._watching)

    async def OpenSession(self, request: decision_pb2.OpenSessionRequest, context: Any) -> Any:
        opened = await self._open(_by_its_name(convert.opening_of(request)))
        response = decision_pb2.OpenSessionResponse(
            decision=convert.decision(opened.answer),
            revision=opened.answer.revision,
            obligations=[convert.obligation(item) for item in opened.obligations],
        )
        if opened.session is not None:
            response.session.CopyFrom(convert.session(opened.session))
        return response

    async def _open(self, opening: Opening) -> Opened:
        """A session whose asker went away while it was opened is nobody's: it ends at once."""
        gone = False

        async def work() -> Opened:
            opened = await self._sessions.open(opening)
            if gone and opened.session is not None:
                await self._sessions.end(opened.session.id, "the client went away", kind="closed")
            return opened

        try:
            return await self._supervisor.run(work())
        except asyncio.CancelledError:
            gone = True
            raise

    async def Decide(self, request: decision_pb2.DecideRequest, context: Any) -> Any:
        return await self._decide(request)

    async def DecideBatch(self, request: decision_pb2.DecideBatchRequest, context: Any) -> Any:
        """One after the other: the log keeps the order of the acts."""
        if len(request.requests) > MAX_BATCH:
            raise BadRequestError(f"a batch has at most {MAX_BATCH} requests", code="TOO_LARGE")
        responses = [await self._decide(item) for item in request.requests]
        return decision_pb2.DecideBatchResponse(responses=responses)

    async def DecideStream(self, request_iterator: AsyncIterator[decision_pb2.DecideRequest], context: Any) -> None:
        """Answers come as they are ready, in any order: `operation` says which is whose."""
        stream = DecideStream(self._supervisor, decide=self._decided, write=context.write)
        await stream.serve(request_iterator)

    async def _decide(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        return await self._supervisor.run(self._decided(request))

    async def _decided(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        prefix = CALLER.get().prefix
        if prefix:
            await self._sessions.must_belong(request.session, prefix)
        return convert.decide_response(await self._pipeline.decide(convert.ask_of(request)))

    async def Explain(self, request: decision_pb2.ExplainRequest, context: Any) -> Any:
        explained = await self._explain.explain(
            CALLER.get().required_subject(),
            connection=request.connection,
            role=request.role,
            statement=request.statement,
            about=request.subject,
        )
        return decision_pb2.ExplainResponse(
            operation=explained.operation, decision=convert.decision(explained.answer), input=explained.input
        )

    async def ListSessions(self, request: decision_pb2.ListSessionsRequest, context: Any) -> Any:
        found = await self._session_calls.list(CALLER.get().required_subject(), include_closed=request.all)
        return decision_pb2.ListSessionsResponse(sessions=[convert.session(item) for item in found])

    async def IssueSessionCredential(
        self, request: decision_pb2.IssueSessionCredentialRequest, context: Any
    ) -> decision_pb2.IssueSessionCredentialResponse:
        caller = CALLER.get()
        asker = Asker(
            subject=caller.required_subject(),
            token=caller.required_token(),
            peer=peer_address(context.peer()),
            proved=bool(caller.required_token().keys),  # each was shown to be held
        )
        if request.ssh_public_key:
            if request.uses:
                raise BadRequestError("a certificate has no number of uses")
            work = self._credentials.certify(
                asker,
                connection=request.connection,
                role=request.role,
                public_key=request.ssh_public_key,
                command=request.force_command,
            )
        else:
            if request.force_command:
                raise BadRequestError("a one-time password is forced to no command")
            work = self._credentials.issue(asker, connection=request.connection, role=request.role, uses=request.uses)
        issued = await self._supervisor.run(work)
        return decision_pb2.IssueSessionCredentialResponse(
            credential=issued.credential, expires=convert.timestamp(issued.expires)
        )

    async def Revoke(self, request: decision_pb2.RevokeRequest, context: Any) -> Any:
        subject = CALLER.get().required_subject()
        target = Target(token=request.token, issuer=request.issuer, party=request.party, role=request.role)
        if target.kind:
            if request.session:
                raise BadRequestError("revoke one thing: a session, a token with its issuer, a party or a role")
            revoked = await self._supervisor.run(self._revoking.revoke(subject, target, reason=request.reason))
            return decision_pb2.RevokeResponse(sessions=revoked.sessions, tokens=revoked.tokens)
        ended = await self._supervisor.run(
            self._session_calls.revoke(subject, session=request.session, reason=request.reason)
        )
        return decision_pb2.RevokeResponse(sessions=int(ended))

    async def WatchRevocations(
        self, request: decision_pb2.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[decision_pb2.WatchRevocationsResponse]:
        if not request.enforcer or len(request.enforcer) > _NAME:
            raise BadRequestError("the enforcer does not say who it is")
        enforcer = CALLER.get().prefix + request.enforcer
        self._watching[enforcer] += 1
        self._metrics.watchers.inc()
        try:
            await self._sessions.enforcer_seen(enforcer)
            async with aclosing(self._revocations.watch()) as messages:
                async for message in messages:
                    yield convert.revocation(message)
        finally:
            self._metrics.watchers.dec()
            self._watching[enforcer] -= 1
            if self._watching[enforcer] <= 0:
                del self._watching[enforcer]

    async def CloseSession(self, request: decision_pb2.CloseSessionRequest, context: Any) -> Any:
        if not CALLER.get().enforcer:
            raise CallerError("only an enforcer closes sessions")
        await self._sessions.must_belong(request.session, CALLER.get().prefix)
        await self._supervisor.run(self._sessions.end(request.session, request.reason, kind="closed"))
        return decision_pb2.CloseSessionResponse()
