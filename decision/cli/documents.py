"""The settings documents handed to the processes (docs/architecture.md): pure functions of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from decision.cli.certificates import RunTls
from decision.cli.config import Loaded
from decision.cli.opa import shipped_rego
from decision.cli.settings import Account, Connection, ListenerTls, Source

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
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
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


def decision(loaded: Loaded, run: Run, *, grpc: str, http: str) -> JSON:
    config = loaded.config
    policy = config.policy
    return {
        "run": {
            "instance": run.instance,
            "dev": run.dev,
            "state_dir": str(loaded.state_dir),
            "enforcer_secret": run.enforcer_secret,
            "tls": {"ca": run.tls.ca, "cert": run.tls.cert, "key": run.tls.key},
        },
        "grpc": grpc,
        "http": http,
        "identity": config.identity.model_dump(),
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
        "audit": {"dir": str(loaded.absolute(config.audit.dir))},
        "opa": {
            "path": run.opa or None,
            "url": policy.opa.url if policy.opa is not None else None,
            "token": run.opa_token,
        },
    }


def enforcer(loaded: Loaded, run: Run, *, grpc: str, listen: Mapping[str, str], instance: str) -> JSON:
    """For the PostgreSQL enforcer. `listen` holds an address per connection."""
    postgres, masking = loaded.config.enforcers.postgres, loaded.config.masking
    return {
        "run": {
            "instance": instance,
            "dev": run.dev,
            "enforcer_secret": run.enforcer_secret,
            "tls": {"ca": run.tls.ca},
        },
        "decision": {"grpc": grpc},
        "listen": dict(listen),
        "workers": postgres.workers,
        "balancers": postgres.balancers,
        "max_connections": postgres.max_connections,
        **({"masking": {"key": _source(loaded, masking.key)}} if masking is not None else {}),
        **({"tls": _listener_tls(loaded, postgres.tls)} if postgres.tls is not None else {}),
        **_oauth(loaded),
        "connections": [
            {
                "name": connection.name,
                "environment": connection.environment,
                "upstream": _upstream(loaded, connection),
                "credentials": {role: _account(loaded, account) for role, account in connection.credentials.items()},
            }
            for connection in loaded.config.connections
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


def _account(loaded: Loaded, account: Account) -> JSON:
    document: JSON = {"user": account.user}
    if account.password is not None:
        document["password"] = _source(loaded, account.password)
    if account.certificate is not None and account.key is not None:
        document["certificate"] = str(loaded.absolute(account.certificate))
        document["key"] = _source(loaded, account.key)
    return document


def _listener_tls(loaded: Loaded, tls: ListenerTls) -> JSON:
    return {
        "certificate": str(loaded.absolute(tls.certificate)),
        "key": _source(loaded, tls.key),
        "required": tls.required,
    }


def _upstream(loaded: Loaded, connection: Connection) -> str:
    """The URL with the path of its root certificates made absolute."""
    if connection.root_certificate is None:
        return connection.upstream
    options = {**connection.options, "sslrootcert": str(loaded.absolute(connection.root_certificate))}
    return urlsplit(connection.upstream)._replace(query=urlencode(options)).geturl()


def _source(loaded: Loaded, source: Source) -> JSON:
    """The source with paths made absolute; the secret itself is fetched by the process that needs it."""
    if source.env is not None:
        return {"env": source.env}
    if source.file is not None:
        return {"file": str(loaded.absolute(source.file))}
    program, *arguments = source.exec or [""]
    return {"exec": [str(loaded.absolute(program)) if "/" in program else program, *arguments]}
