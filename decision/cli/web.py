"""The shape of `web` in twokey.yaml: the pages on which people review, and how they log in there."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from decision.cli.listening import Key, http_origin
from decision.cli.schema import Address, Source, Strict, is_loopback, never_inline, split_address


class WebTls(Strict):
    """PEM; read again when the files change."""

    certificate: str = Field(min_length=1)
    key: Key


class StepUp(Strict):
    """Which approvals want a fresh log-in: those on connections of these environments ("*": all). acr: as strong as
    one of these, in the issuer's words."""

    environments: list[str] = Field(min_length=1)
    max_age_s: int = Field(default=900, ge=30, le=86_400)
    acr: list[str] = Field(default_factory=list, max_length=16)


class WebLogin(Strict):
    """issuer: one of identity.issuers, whose role table counts for its ID tokens too. client: how this service is
    registered there, with the redirect ORIGIN/callback; secret: absent for a public client."""

    issuer: str
    client: str = Field(min_length=1)
    secret: Annotated[Source, BeforeValidator(never_inline)] | None = None
    scopes: list[str] = Field(default_factory=lambda: ["openid"], min_length=1, max_length=32)
    step_up: StepUp | None = None


class Web(Strict):
    """origin: what browsers know the pages by, where a proxy stands before them; else what is listened on."""

    listen: Address = "127.0.0.1:0"
    origin: Annotated[str, AfterValidator(http_origin)] | None = None
    tls: WebTls | None = None
    login: WebLogin
    idle_s: int = Field(default=1800, ge=60, le=86_400)
    absolute_s: int = Field(default=28_800, ge=300, le=86_400)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        host, _ = split_address(self.listen)
        if self.tls is None and not is_loopback(host):
            raise ValueError("listens beyond loopback without TLS; add `tls`, or use 127.0.0.1 behind a proxy with TLS")
        if "openid" not in self.login.scopes:
            raise ValueError("asks for no ID token; add `openid` to `login.scopes`")
        return self
