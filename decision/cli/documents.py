"""The settings documents handed to the processes (docs/architecture.md): pure functions of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from decision.cli.certificates import RunTls
from decision.cli.config import Loaded
from decision.cli.listening import DecisionTls, ListenerTls, Mutual
from decision.cli.located import PathKey
from decision.cli.opa import shipped_rego
from decision.cli.schema import Source
from decision.cli.settings import Account, Connection

JSON = dict[str, object]

# What a process may inherit. Everything else, above all other people's secrets, stays with the supervisor.
PLAIN = ("PATH", "HOME", "TWOKEY_PURE")
SERVICE = (
    *PLAIN,
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one start makes up: identity, secrets, switches."""

    instance: str
    dev: bool
    enforcer_secret: str = field(repr=False)
    tls: RunTls
    opa: str
    opa_token: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    exchange_key: str | None = field(default=None, repr=False)
    store_password: str | None = field(default=None, repr=False)
    web_secret: str | None = field(default=None, repr=False)


def decision(loaded: Loaded, run: Run, *, grpc: str, http: str, mutual: str = "", web: str = "") -> JSON:
    """mutual: the address of the listener that asks for certificates, web: that of the pages, where there are any."""
    config = loaded.config
    policy, tls, asking = config.policy, config.decision.tls, config.decision.mutual
    return {
        **({"tls": _service_tls(loaded, tls)} if tls is not None else {}),
        **({"mutual": {"listen": mutual, "tls": _service_tls(loaded, asking)}} if asking is not None else {}),
        "run": {
            "instance": run.instance,
            "dev": run.dev,
            "state_dir": str(loaded.state_dir),
            "enforcer_secret": run.enforcer_secret,
            "tls": {"ca": run.tls.ca, "cert": run.tls.cert, "key": run.tls.key},
        },
        "grpc": grpc,
        "http": http,
        "identity": config.identity.model_dump(exclude={"issuers": {"__all__": {"login"}}}),
        "public": config.decision.public.model_dump(),
        **({"web": _web(loaded, run, web)} if config.web is not None else {}),
        **({"ssh": {"key": run.ssh_key}} if run.ssh_key is not None else {}),
        **({"exchange": {"key": run.exchange_key}} if run.exchange_key is not None else {}),
        "configuration": str(loaded.path),
        "people": str(loaded.absolute(config.people)),
        "policy": {
            "rego": str(loaded.absolute(policy.rego) if policy.rego is not None else shipped_rego()),
            "data": str(loaded.absolute(policy.data)) if policy.data is not None else None,
        },
        "connections": [
            {
                "name": connection.name,
                "kind": connection.kind,
                "environment": connection.environment,
                "classification": (
                    str(loaded.absolute(connection.classification)) if connection.classification is not None else None
                ),
            }
            for connection in config.connections
        ],
        "store": loaded.store,
        **({"store_password": run.store_password} if run.store_password is not None else {}),
        "audit": {"dir": str(loaded.absolute(config.audit.dir))},
        "opa": {
            "path": run.opa or None,
            "url": policy.opa.url if policy.opa is not None else None,
            "token": run.opa_token,
        },
    }


def _web(loaded: Loaded, run: Run, listen: str) -> JSON:
    web = loaded.config.web
    if web is None:
        return {}
    document: JSON = {"listen": listen or web.listen, "origin": web.origin, "idle_s": web.idle_s}
    document["absolute_s"] = web.absolute_s
    document.update(web.login.model_dump(include={"issuer", "client", "scopes", "step_up"}))
    if web.tls is not None:
        certificate, key = loaded.absolute(web.tls.certificate), loaded.absolute(web.tls.key.file or "")
        document["tls"] = {"certificate": str(certificate), "key": str(key)}
    return {**document, "secret": run.web_secret}


def _service_tls(loaded: Loaded, tls: DecisionTls | Mutual) -> JSON:
    document: JSON = {"certificate": str(loaded.absolute(tls.certificate))}
    document["key"] = str(loaded.absolute(tls.key.file or ""))
    if tls.clients is not None:
        document["clients"] = str(loaded.absolute(tls.clients))
    if isinstance(tls, Mutual):
        document["enforcers"] = str(loaded.absolute(tls.enforcers))
    return document


def _known_by(loaded: Loaded, name: str) -> JSON:
    """How gateways know the service: as configured; or, where it shows the operator's certificate, as that says."""
    peer, tls = loaded.config.enforcers.decision, loaded.config.decision.tls
    if peer is not None:
        document: JSON = {"ca": str(loaded.absolute(peer.ca)), "name": peer.name}
        if peer.certificate is not None and peer.key is not None:
            document["certificate"] = str(loaded.absolute(peer.certificate))
            document["key"] = _source(loaded, peer.key, ("enforcers", "decision", "key"))
        return {"tls": document}
    if tls is not None and name:
        return {"tls": {"ca": str(loaded.absolute(tls.ca or tls.certificate)), "name": name}}
    return {}


def enforcer(
    loaded: Loaded,
    run: Run,
    *,
    grpc: str,
    listen: Mapping[str, str],
    instance: str,
    variables: Mapping[str, str] | None = None,
    name: str = "",
) -> JSON:
    """For the PostgreSQL enforcer. `listen` holds an address per connection; `variables` the values of those that its
    sources name; `name` what the certificate of `decision.tls` names."""
    postgres, masking = loaded.config.enforcers.postgres, loaded.config.masking
    return {
        "run": {
            "instance": instance,
            "dev": run.dev,
            "enforcer_secret": run.enforcer_secret,
            "tls": {"ca": run.tls.ca},
        },
        "decision": {"grpc": grpc, **_known_by(loaded, name)},
        "listen": dict(listen),
        "workers": postgres.workers,
        "balancers": postgres.balancers,
        "max_connections": postgres.max_connections,
        **({"variables": dict(variables)} if variables else {}),
        **({"masking": {"key": _source(loaded, masking.key, ("masking", "key"))}} if masking is not None else {}),
        **({"tls": _listener_tls(loaded, postgres.tls)} if postgres.tls is not None else {}),
        **_oauth(loaded),
        "connections": [
            {
                "name": connection.name,
                "environment": connection.environment,
                "upstream": _upstream(loaded, connection),
                "credentials": {
                    role: _account(loaded, account, ("connections", index, "credentials", role))
                    for role, account in connection.credentials.items()
                },
            }
            for index, connection in enumerate(loaded.config.connections)
            if connection.kind == "postgres"
        ],
    }


def _oauth(loaded: Loaded) -> JSON:
    """Where OAUTHBEARER's clients are sent for a token: to the one issuer; with several they must know themselves."""
    issuers = loaded.config.identity.issuers
    if len(issuers) != 1:
        return {}
    return {"oauth": f"{issuers[0].issuer.rstrip('/')}/.well-known/openid-configuration"}


def environment(names: set[str] | tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """Only `names` of `environ`."""
    return {name: environ[name] for name in names if name in environ}


def _account(loaded: Loaded, account: Account, place: PathKey) -> JSON:
    document: JSON = {"user": account.user}
    if account.password is not None:
        document["password"] = _source(loaded, account.password, (*place, "password"))
    if account.certificate is not None and account.key is not None:
        document["certificate"] = str(loaded.absolute(account.certificate))
        document["key"] = _source(loaded, account.key, (*place, "key"))
    return document


def _listener_tls(loaded: Loaded, tls: ListenerTls) -> JSON:
    return {
        "certificate": str(loaded.absolute(tls.certificate)),
        "key": _source(loaded, tls.key, ("enforcers", "postgres", "tls", "key")),
        "required": tls.required,
        **({"clients": str(loaded.absolute(tls.clients))} if tls.clients is not None else {}),
    }


def _upstream(loaded: Loaded, connection: Connection) -> str:
    """The URL with the path of its root certificates made absolute."""
    if connection.root_certificate is None:
        return connection.upstream
    options = {**connection.options, "sslrootcert": str(loaded.absolute(connection.root_certificate))}
    return urlsplit(connection.upstream)._replace(query=urlencode(options)).geturl()


def _source(loaded: Loaded, source: Source, place: PathKey) -> JSON:
    """The source with paths made absolute, and where it is configured; the secret itself is fetched by the process
    that needs it."""
    at = f"{loaded.document.file}:{loaded.document.line(place)}"
    if source.env is not None:
        return {"env": source.env, "at": at}
    if source.file is not None:
        on_disk = {"on_disk": True} if source.on_disk else {}
        return {"file": str(loaded.absolute(source.file)), **on_disk, "at": at}
    program, *arguments = source.exec or [""]
    names = {"environment": list(source.environment)} if source.environment else {}
    return {"exec": [str(loaded.absolute(program)) if "/" in program else program, *arguments], **names, "at": at}
