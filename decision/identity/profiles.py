"""What a token of each kind must say and must not say: the profile of an issuer.

An issuer sends more than one kind of token, signed with the same keys, and not each is a key to this service: an
interactive client's ID token tells that client who logged in, a log-out token that somebody left. `typ: at+jwt` tells
an access token apart at once (RFC 9068); where a provider doesn't send it, what the others have and it has not does.

- `rfc9068`: access tokens of RFC 9068.
- `legacy-jwt`: access tokens of providers that don't say `at+jwt`. They carry a scope and name their client, and
  nothing that only ID tokens, refresh tokens and log-out tokens have (OpenID Connect Core, section 2; Back-Channel
  Logout, section 2.4).
- `workload`: what a CI system, a cluster or SPIFFE says about a job or a pod, by platform. It is shaped like an ID
  token, so what makes it one of a workload is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from decision.identity import spiffe

DAY_S: Final = 86_400

# An ID token's own: the hashes of what was issued beside it, and the answer to a log-in's nonce.
_ID_TOKEN: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
_OTHERS: Final = frozenset({"events", "toe"})  # log-out and security event tokens (RFC 8417)
_INTERACTIVE: Final = frozenset({"auth_time", "acr", "amr", "azp", "email", "email_verified", "preferred_username"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """types: accepted `typ`, lower case and without `application/`; "" where it may be absent. required: claims that
    are texts. either: of each group at least one. client, token_id: where these are found, first match; a token_id of
    () is made of the token itself. workload: one audience, and the claim of roles may be one text. algorithms: empty
    for all that are accepted anywhere."""

    types: frozenset[str]
    required: tuple[str, ...] = ()
    either: tuple[tuple[str, ...], ...] = ()
    forbidden: frozenset[str]
    client: tuple[str, ...] = ()
    token_id: tuple[str, ...] = ()
    lifetime_s: int | None = None
    workload: bool = False
    algorithms: frozenset[str] = frozenset()
    consistent: Callable[[Mapping[str, object]], str] | None = None  # "" or what is wrong


def _github(claims: Mapping[str, object]) -> str:
    """https://docs.github.com/actions/concepts/security/openid-connect"""
    subject, repository = claims.get("sub"), claims.get("repository")
    if not isinstance(subject, str) or ":" not in subject:
        return "has a subject that is not one of a job"
    if not isinstance(repository, str) or repository.count("/") != 1:
        return "names no repository"
    # Customised subjects may begin otherwise; one that begins like a repository is this one's.
    if subject.startswith("repo:") and not subject.startswith(f"repo:{repository}:"):
        return "has a subject of another repository"
    return ""


def _gitlab(claims: Mapping[str, object]) -> str:
    """https://docs.gitlab.com/ci/secrets/id_token_authentication/"""
    subject, project = claims.get("sub"), claims.get("project_path")
    if not isinstance(subject, str) or not subject.startswith(f"project_path:{project}:"):
        return "has a subject of another project"
    if claims.get("ref_protected") not in {"true", "false"}:
        return "does not say whether its ref is protected"
    return ""


def _kubernetes(claims: Mapping[str, object]) -> str:
    """https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/"""
    about = claims.get("kubernetes.io")
    account = about.get("serviceaccount") if isinstance(about, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(account, Mapping):
        return "is not bound to a service account"
    namespace, name, uid = about.get("namespace"), account.get("name"), account.get("uid")
    if not isinstance(uid, str) or not uid:
        return "is not bound to a service account"
    if claims.get("sub") != f"system:serviceaccount:{namespace}:{name}":
        return "has a subject of another service account"
    if any(claim.startswith("kubernetes.io/") for claim in claims):  # those of a Secret, which never expire
        return "is a service account's token of the old kind"
    return ""


_JWT: Final = frozenset({"", "jwt"})

PROFILES: Final[Mapping[str, Profile]] = {
    "rfc9068": Profile(
        types=frozenset({"at+jwt"}),
        required=("client_id", "jti"),
        forbidden=_ID_TOKEN | _OTHERS,
        client=("client_id",),
        token_id=("jti",),
    ),
    "legacy-jwt": Profile(
        types=_JWT | {"at+jwt"},
        either=(("scope", "scp"), ("client_id", "azp", "appid", "cid")),
        forbidden=_ID_TOKEN | _OTHERS,
        client=("client_id", "azp", "appid", "cid"),
        token_id=("jti", "uti"),
    ),
}

WORKLOADS: Final[Mapping[str, Profile]] = {
    "github": Profile(
        types=_JWT,
        required=("jti", "repository", "repository_id", "repository_owner_id", "workflow_ref", "run_id", "event_name"),
        forbidden=_ID_TOKEN | _OTHERS | _INTERACTIVE,
        client=("workflow_ref",),
        token_id=("jti",),
        lifetime_s=DAY_S,
        workload=True,
        consistent=_github,
    ),
    "gitlab": Profile(
        types=_JWT,
        required=("jti", "project_id", "project_path", "namespace_id", "pipeline_id", "job_id", "ref", "ref_type"),
        forbidden=_ID_TOKEN | _OTHERS | _INTERACTIVE | {"sub_legacy"},
        client=("project_path",),
        token_id=("jti",),
        lifetime_s=DAY_S,
        workload=True,
        consistent=_gitlab,
    ),
    "kubernetes": Profile(
        types=_JWT,
        forbidden=_ID_TOKEN | _OTHERS | _INTERACTIVE,
        client=("sub",),
        token_id=("jti",),
        lifetime_s=DAY_S,
        workload=True,
        consistent=_kubernetes,
    ),
    "spiffe": Profile(
        types=_JWT | {"jose"},
        forbidden=_ID_TOKEN | _OTHERS | _INTERACTIVE,
        client=("sub",),
        token_id=("jti",),
        lifetime_s=spiffe.LIFETIME_S,
        workload=True,
        algorithms=spiffe.ALGORITHMS,
    ),
}


def of_trust_domain(trust_domain: str) -> Profile:
    """JWT-SVIDs of one trust domain."""

    def consistent(claims: Mapping[str, object]) -> str:
        subject = claims.get("sub")
        known = isinstance(subject, str) and spiffe.is_of(subject, trust_domain)
        return "" if known else "has a subject that is no SPIFFE ID of the trust domain"

    return replace(WORKLOADS["spiffe"], consistent=consistent)
