"""POST /token: token exchange (RFC 8693) as an endpoint of this service's.

The caller is the actor: it authenticates with its own token in `Authorization`, with the proof that token needs, and
what it gets is bound to the key it proved. The subject's token stands in the body. It may be bound to the subject's
key, which the actor has not: it is not used here, only spoken of, and what comes of it can do no more than the actor.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from decision.audit.record import timestamp
from decision.errors import BadRequestError, CallerError, DecisionError, StoreError, TokenError
from decision.identity.dpop import NonceError
from decision.identity.exchange import Exchange, Exchanged
from decision.identity.svid import thumbprint
from decision.metrics import Metrics
from decision.model import VerifiedToken
from decision.pdp.answer import sentence, who_body
from decision.ports import Recorder, TokenStore
from decision.rpc.auth import Authenticator, Caller
from decision.rpc.status import report

PATH: Final = "/token"
ACTION: Final = "twokey.identity.v1.TokenExchange/Exchange"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = frozenset({"urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt"})
_ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"
_KNOWN: Final = frozenset(
    {
        "grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
        "audience", "resource", "scope", "twokey_subagent", "twokey_role",
    }
)  # fmt: skip
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_DESCENT_S: Final = 86_400.0


class _RecordedError(Exception):
    """A refusal that stands in the log already. Never seen outside."""

    def __init__(self, error: BadRequestError | TokenError) -> None:
        super().__init__(error.code)
        self.error = error


class TokenExchange:
    def __init__(
        self,
        *,
        exchange: Exchange,
        authenticator: Authenticator,
        store: TokenStore,
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self._exchange = exchange
        self._auth = authenticator
        self._store = store
        self._recorder = recorder
        self._metrics = metrics

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post(PATH, self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Always an answer of RFC 6749's form; what nobody foresaw is named in the log alone."""
        try:
            return await self._answer(request)
        except _RecordedError as recorded:
            self._metrics.called(ACTION, recorded.error.code)
            return refused(recorded.error)
        except DecisionError as error:
            await self._auth.refusal(ACTION, error)
            self._metrics.called(ACTION, error.code)
            return refused(error)
        except Exception as error:  # noqa: BLE001 - the outermost edge: the exception's own words may hold a caller's
            report(ACTION, error)
            return web.json_response({"error": "server_error"}, status=500, headers=_NO_STORE)

    async def _answer(self, request: web.Request) -> web.Response:
        fields = list(request.headers.items())
        caller = await self._auth.authorize_http(ACTION, "POST", request.path, fields, x5t=shown_x5t(request))
        made = await self._asked(caller, request)
        await self._store.descend(made.key, made.parents, seconds=_DESCENT_S)
        # The record before the token: one that nobody knows of must not exist.
        await self._recorder.append("token-exchanged", _body(caller, made))
        self._metrics.called(ACTION, "")
        now = self._auth.clock.now()
        answer = {
            "access_token": made.token,
            "issued_token_type": _ACCESS,
            "token_type": "DPoP" if caller.jkt else "Bearer",
            "expires_in": int((made.expires - now).total_seconds()),
            "scope": " ".join(made.scopes),
        }
        return web.json_response(answer, headers=_NO_STORE)

    async def _asked(self, caller: Caller, request: web.Request) -> Exchanged:
        """What the form asks for; what it may not have is recorded with who asked."""
        try:
            return await self._exchanged(caller, await _form(request))
        except (BadRequestError, TokenError) as error:
            await self._auth.refusal_of(ACTION, caller.required_subject(), error)
            raise _RecordedError(error) from error

    async def _exchanged(self, caller: Caller, form: Mapping[str, str]) -> Exchanged:
        actor, now = caller.required_token(), self._auth.clock.now()
        scopes = tuple(form.get("scope", "").split())
        number = form.get("twokey_subagent", "")
        if number:
            party = self._auth.questions.engine.people.party(actor.actors[0] if actor.actors else actor.identity)
            if not number.isascii() or not number.isdigit() or len(number) > 4 or party.kind != "agent":
                raise BadRequestError("a subagent is a number, of an agent that people.yaml knows")
            return self._exchange.subagent(
                actor,
                name=party.name,
                number=int(number),
                roles=tuple(form.get("twokey_role", "").split()),
                scopes=scopes,
                jkt=caller.jkt,
                x5t=caller.x5t,
                now=now,
            )
        subject = await self._subject(form.get("subject_token", ""))
        return self._exchange.delegate(subject, actor, scopes=scopes, jkt=caller.jkt, x5t=caller.x5t, now=now)

    async def _subject(self, text: str) -> VerifiedToken:
        subject = await self._auth.tokens.verify_spoken_of(text)
        if self._auth.clock.now() >= subject.expires:
            raise TokenError("the subject's token has expired", code="TOKEN_EXPIRED")
        await self._auth.standing.check(subject, self._auth.questions.engine.people)
        return subject


def shown_x5t(request: web.Request) -> str:
    """The thumbprint of the certificate shown on this connection, which TLS checked; "" for none (RFC 8705)."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    if tls is None:
        return ""
    der = tls.getpeercert(binary_form=True)
    if not der or ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]) <= time.time():
        return ""  # a connection that is kept may outlive what was shown on it
    return thumbprint(der)


async def _form(request: web.Request) -> Mapping[str, str]:
    """Raises BadRequestError: not a form, a field that is unknown or given twice, another grant or kind of token."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequestError("the request is not a form")
    if request.query_string:
        raise BadRequestError("nothing belongs in the query: addresses are written into logs")
    try:
        pairs = list((await request.post()).items())
    except (ValueError, web.HTTPRequestEntityTooLarge):
        raise BadRequestError("the form can't be read") from None
    form = {name: value for name, value in pairs if isinstance(value, str)}
    if len(form) != len(pairs) or not form.keys() <= _KNOWN:
        raise BadRequestError("a field is given twice, or is not known")
    if form.get("grant_type") != _GRANT:
        raise BadRequestError("only token exchange is granted here", code="UNSUPPORTED_GRANT")
    if form.get("requested_token_type", _ACCESS) not in _TYPES:
        raise BadRequestError("only access tokens are given here")
    if "twokey_subagent" not in form and form.get("subject_token_type") not in _TYPES:
        raise BadRequestError("the subject's token is to be an access token")
    _same_actor(request, form)
    return form


def _same_actor(request: web.Request, form: Mapping[str, str]) -> None:
    """The actor is who calls. An `actor_token` may be given, and is then the very token it calls with."""
    header = request.headers.get("Authorization", "").partition(" ")[2].strip()
    if form.get("actor_token", header) != header:
        raise BadRequestError("the actor's token is not the one this call was made with", code="INVALID_TARGET")
    if form.get("audience", "twokey") != "twokey" or "resource" in form:
        raise BadRequestError("tokens of this service are for this service", code="INVALID_TARGET")


_OAUTH: Final = {"INVALID_SCOPE": "invalid_scope", "INVALID_TARGET": "invalid_target",
                 "UNSUPPORTED_GRANT": "unsupported_grant_type"}  # fmt: skip


_ALGORITHMS: Final = 'algs="ES256 ES384 ES512 Ed25519 RS256 PS256"'


def refused(error: DecisionError) -> web.Response:
    """An error as RFC 6749 (section 5.2), RFC 6750 (section 3) and RFC 9449 (sections 7.1 and 8) say it."""
    challenges: Sequence[str] = ()
    if isinstance(error, TokenError) and error.code != "TOKEN_KEYS_UNAVAILABLE":
        name, status, challenges = "invalid_token", 401, _challenges(error.code)
    elif isinstance(error, CallerError):
        name, status = "unauthorized_client", 403
    elif isinstance(error, BadRequestError):
        name, status = _OAUTH.get(error.code, "invalid_request"), 400
    else:
        name, status = "temporarily_unavailable", 503
    name = _PROOF.get(error.code, name) if challenges else name
    said = "the store can't be asked" if isinstance(error, StoreError) else sentence(error)
    answer = web.json_response({"error": name, "error_description": said[:1000]}, status=status, headers=_NO_STORE)
    for challenge in challenges:
        answer.headers.add("WWW-Authenticate", challenge)
    if isinstance(error, NonceError):
        answer.headers["DPoP-Nonce"] = error.nonce
    return answer


_PROOF: Final = {"USE_DPOP_NONCE": "use_dpop_nonce", "TOKEN_PROOF": "invalid_dpop_proof"}


def _challenges(code: str) -> Sequence[str]:
    """How to authenticate: either way for who brought no token (no error is named then) or a bad one; by a proof alone
    for who brought a token that is bound to a key."""
    if code in _PROOF:
        return (f'DPoP error="{_PROOF[code]}", {_ALGORITHMS}',)
    if code == "TOKEN_MISSING":
        return (f"DPoP {_ALGORITHMS}", 'Bearer realm="twokey"')
    return (f'DPoP error="invalid_token", {_ALGORITHMS}', 'Bearer realm="twokey", error="invalid_token"')


def _body(caller: Caller, made: Exchanged) -> dict[str, object]:
    return {
        **who_body(caller.required_subject()),
        "token": made.key,
        "of": {"iss": made.subject.iss, "sub": made.subject.sub},
        "chain": [{"iss": one.iss, "sub": one.sub} for one in made.chain],
        "parents": list(made.parents),
        "scopes": list(made.scopes),
        "bound_to": caller.jkt or caller.x5t,
        "expires": timestamp(made.expires),
    }
