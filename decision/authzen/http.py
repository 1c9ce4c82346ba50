"""AuthZEN's two endpoints and its metadata document. A denial is 200 with `decision: false`, never 403.

Authorization API 1.0, section 10 (transport) and 9 (metadata); obligations profile, sections 6 and 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from decision.authzen import address, message
from decision.authzen.evaluating import Evaluating, Told
from decision.authzen.message import Batch, Evaluation
from decision.errors import BadRequestError, CallerError, DecisionError, PolicyUnavailableError, TokenError
from decision.http import NO_STORE
from decision.metrics import Metrics
from decision.model import Subject
from decision.pdp.answer import sentence
from decision.rpc.auth import Authenticator, DeniedCallerError
from decision.rpc.exchange import refused, shown_x5t
from decision.rpc.status import report

ACTION: Final = "twokey.authzen.v1.Access/Evaluate"
SINGLE: Final = "/access/v1/evaluation"
MANY: Final = "/access/v1/evaluations"
METADATA: Final = "/.well-known/authzen-configuration"
BATCH_S: Final = 10.0
AT_ONCE: Final = 8
BODY_S: Final = 10.0  # a body that comes slower is not waited for
METADATA_S: Final = 300  # how long a metadata document may be kept by whoever asked (section 11.6)
SCOPE: Final = "twokey:access:evaluate"
SCOPE_RULE: Final = "DUTY-SCOPE-ACCESS"
OBLIGATIONS: Final = ("custom",)
REQUESTS: Final = "/access/v1/requests"
KEYS: Final = "/access/v1/jwks"
CAPABILITY: Final = "urn:openid:authzen:capability:access-request"


class AuthZen:
    def __init__(self, *, authenticator: Authenticator, evaluating: Evaluating, metrics: Metrics) -> None:
        self._auth = authenticator
        self._evaluating = evaluating
        self._metrics = metrics

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.route("*", SINGLE, self.handle),
            web.route("*", MANY, self.handle),
            web.get(METADATA, self.metadata),
        ]

    async def handle(self, request: web.Request) -> web.Response:
        """Always JSON, with the caller's X-Request-ID."""
        try:
            answer = await self._answer(request)
            self._metrics.called(ACTION, "")
        except DecisionError as error:
            await self._auth.refusal(ACTION, error)
            self._metrics.called(ACTION, error.code)
            answer = error_answer(error)
        except TimeoutError:
            self._metrics.called(ACTION, "INVALID_REQUEST")
            answer = plain(408, "the body did not come in time")
            answer.force_close()
        except web.HTTPException as error:
            answer = plain(error.status, error.reason)
            answer.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        except Exception as error:  # noqa: BLE001 - the outermost edge: the exception's own words may hold a caller's
            report(ACTION, error)
            answer = plain(500, "internal error")
        return answer

    async def metadata(self, request: web.Request) -> web.Response:
        """Of the address that was asked, where it is one of this service's."""
        base = address.base(self._auth.http, request)
        if base is None:
            return plain(404, "not an address of this service")
        document = {
            "policy_decision_point": base,
            "access_evaluation_endpoint": base + SINGLE,
            "access_evaluations_endpoint": base + MANY,
            "access_request_endpoint": base + REQUESTS,
            "jwks_uri": base + KEYS,
            "capabilities": [CAPABILITY],
            # Its name in the profile's current draft, and the one before.
            "obligations_supported": list(OBLIGATIONS),
            "supported_obligations": list(OBLIGATIONS),
        }
        return web.json_response(document, headers={"Cache-Control": f"public, max-age={METADATA_S}"})

    async def _answer(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        fields = list(request.headers.items())
        caller = await self._auth.authorize_http(
            ACTION, "POST", request.path, fields, x5t=shown_x5t(request), scoped=True
        )
        subject = caller.required_subject()
        async with asyncio.timeout(BODY_S):
            body = await body_of(request)
        document = message.parsed(body)
        asked = message.batch(document) if request.path == MANY else None
        if asked is None:
            told = await self._evaluating.evaluate(subject, message.evaluation(document))
            return web.json_response(told.body, headers=NO_STORE)
        answers = await self._all(subject, asked)
        return web.json_response({"evaluations": [one.body for one in answers]}, headers=NO_STORE)

    async def _all(self, subject: Subject, asked: Batch) -> Sequence[Told]:
        ends = asyncio.get_running_loop().time() + BATCH_S
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(item: Evaluation | BadRequestError) -> Told:
            try:
                async with asyncio.timeout_at(ends), limit:
                    return await self._one(subject, item)
            except TimeoutError:
                if isinstance(item, Evaluation):
                    await self._evaluating.given_up(subject, item)
                return _failed(503, "the decision was not made in time")

        if asked.semantic == message.EXECUTE_ALL:
            return await asyncio.gather(*map(one, asked.items))
        last = asked.semantic == message.PERMIT_FIRST
        answers: list[Told] = []
        for item in asked.items:
            answers.append(await one(item))
            if answers[-1].decision is last:
                break
        return answers

    async def _one(self, subject: Subject, item: Evaluation | BadRequestError) -> Told:
        if isinstance(item, BadRequestError):
            return _failed(400, str(item))
        try:
            return await self._evaluating.evaluate(subject, item)
        except DecisionError as error:
            return _failed(503, _unmade(error))


def _failed(status: int, text: str) -> Told:
    return Told(decision=False, context={"error": {"status": status, "message": text[:1000]}})


async def body_of(request: web.Request) -> bytes:
    """Raises BadRequestError, HTTPRequestEntityTooLarge."""
    if request.content_type != "application/json" or len(request.headers.getall("Content-Type", [])) != 1:
        raise BadRequestError("the Content-Type is not application/json")
    if (request.charset or "utf-8").lower() != "utf-8" or "Content-Encoding" in request.headers:
        raise BadRequestError("the body is to be plain UTF-8")
    return await request.read()


def plain(status: int, text: str) -> web.Response:
    return web.json_response({"error": {"status": status, "message": text}}, status=status, headers=NO_STORE)


def _unmade(error: DecisionError) -> str:
    """Why there is no decision. How the policy is made, and what was wrong with it, is for the log and the record."""
    return sentence(error) if isinstance(error, PolicyUnavailableError) else "no decision could be made"


def error_answer(error: DecisionError) -> web.Response:
    if isinstance(error, BadRequestError):
        return plain(413 if error.code == "TOO_LARGE" else 400, str(error)[:1000])
    if not isinstance(error, TokenError | CallerError):
        return plain(503, _unmade(error))
    answer = refused(error)
    if isinstance(error, DeniedCallerError) and f"[{SCOPE_RULE}]" in str(error):  # RFC 6750, section 3.1
        answer.headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{SCOPE}"'
    return answer
