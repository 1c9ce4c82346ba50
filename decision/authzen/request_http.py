"""The endpoints of access requests: submit, look (or wait), cancel; and the keys of the tokens that denials carry.

Each authenticates and is authorized on its own; a task's id alone is worth nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from decision.authzen import address, message
from decision.authzen.binding import Binding
from decision.authzen.http import BODY_S, KEYS, METADATA_S, REQUESTS, body_of, error_answer, plain
from decision.authzen.requests import Problem, Requests, task_document
from decision.errors import BadRequestError, DecisionError, StateError
from decision.http import NO_STORE
from decision.metrics import Metrics
from decision.model import Approval
from decision.rpc.auth import Authenticator, Caller
from decision.rpc.exchange import shown_x5t
from decision.rpc.status import report
from decision.rpc.supervise import Supervisor

ACTION: Final = "twokey.authzen.v1.Access/Request"
LONGEST_WAIT_S: Final = 60
POLL_S: Final = 5
_KEY: Final = re.compile(r"[!-~]([ -~]{0,254}[!-~])?\Z")
_WAIT: Final = re.compile(r"(?:^|[,;]\s*)wait=(\d{1,4})(?:$|[,;\s])")


class AccessRequests:
    def __init__(
        self,
        *,
        authenticator: Authenticator,
        requests: Requests,
        binding: Binding,
        supervisor: Supervisor,
        metrics: Metrics,
    ) -> None:
        self._auth = authenticator
        self._requests = requests
        self._binding = binding
        self._supervisor = supervisor
        self._metrics = metrics

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post(REQUESTS, self.submit),
            web.get(f"{REQUESTS}/{{task}}", self.look, allow_head=False),
            web.post(f"{REQUESTS}/{{task}}/cancel", self.cancel),
            web.delete(f"{REQUESTS}/{{task}}/cancel", self.cancel),
            web.get(KEYS, self.keys),
        ]

    async def keys(self, _request: web.Request) -> web.Response:
        headers = {"Cache-Control": f"public, max-age={METADATA_S}"}
        return web.json_response(self._binding.jwks(), content_type="application/jwk-set+json", headers=headers)

    async def submit(self, request: web.Request) -> web.Response:
        async def work(caller: Caller) -> web.Response:
            key = request.headers.get("Idempotency-Key", "")
            if key and not _KEY.match(key):
                raise BadRequestError("the Idempotency-Key is not a text of 1 to 256 characters")
            async with asyncio.timeout(BODY_S):
                document = message.parsed(await body_of(request))
            made = self._requests.submit(caller.required_subject(), caller.required_token(), document, key=key)
            approval = await self._supervisor.run(made)
            answer = self._told(request, approval, status=202)
            answer.headers["Location"] = f"{self._base(request)}/{approval.id}"
            return answer

        return await self._answer(request, work)

    async def look(self, request: web.Request) -> web.Response:
        async def work(caller: Caller) -> web.Response:
            wanted = _WAIT.search(request.headers.get("Prefer", ""))
            wait_s = min(int(wanted.group(1)), LONGEST_WAIT_S) if wanted else 0
            task = request.match_info["task"]
            answer = self._told(request, await self._requests.task(caller.required_subject(), task, wait_s=wait_s))
            if wait_s:
                answer.headers["Preference-Applied"] = f"wait={wait_s}"
            return answer

        return await self._answer(request, work)

    async def cancel(self, request: web.Request) -> web.Response:
        async def work(caller: Caller) -> web.Response:
            reason = ""
            if request.can_read_body:
                async with asyncio.timeout(BODY_S):
                    document = message.parsed(await body_of(request))
                told = [document.get(name, "") for name in ("reason", "comment")]
                if not all(isinstance(one, str) for one in told):
                    raise BadRequestError("reason or comment is not a text")
                reason = ": ".join(str(one) for one in told if one)
            ident = request.match_info["task"]
            work = self._requests.cancel(caller.required_subject(), ident, reason=reason)
            return self._told(request, await self._supervisor.run(work))

        return await self._answer(request, work)

    async def _answer(self, request: web.Request, work: Callable[[Caller], Awaitable[web.Response]]) -> web.Response:
        fields = list(request.headers.items())
        try:
            caller = await self._auth.authorize_http(
                ACTION, request.method, request.path, fields, x5t=shown_x5t(request), scoped=True
            )
            answer = await work(caller)
            self._metrics.called(ACTION, "")
            return answer
        except Problem as problem:
            self._metrics.called(ACTION, "INVALID_REQUEST")
            return web.json_response(
                problem.document(), status=problem.status, content_type="application/problem+json", headers=NO_STORE
            )
        except DecisionError as error:
            await self._auth.refusal(ACTION, error)
            self._metrics.called(ACTION, error.code)
            if isinstance(error, StateError) and error.code == "APPROVAL_LIMIT":
                answer = plain(429, str(error))
                answer.headers["Retry-After"] = "60"
                return answer
            return error_answer(error)
        except TimeoutError:
            self._metrics.called(ACTION, "INVALID_REQUEST")
            answer = plain(408, "the body did not come in time")
            answer.force_close()
            return answer
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge: the exception's own words may hold a caller's
            report(ACTION, error)
            return plain(500, "internal error")

    def _told(self, request: web.Request, approval: Approval, *, status: int = 200) -> web.Response:
        document = task_document(approval, self._base(request))
        answer = web.json_response(document, status=status, headers=NO_STORE)
        task = document["task"]
        if isinstance(task, dict) and task["status"] == "pending":
            answer.headers["Retry-After"] = str(POLL_S)
        return answer

    def _base(self, request: web.Request) -> str:
        return address.some_base(self._auth.http, request) + REQUESTS
