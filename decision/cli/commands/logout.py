"""`twokey logout`: forget the token of `twokey login`, at the issuer too where that can be told."""

from __future__ import annotations

import os
from pathlib import Path

import click

from decision.cli import logins, oauth, options
from decision.cli.errors import CliError
from decision.cli.logins import Login


@click.command()
@click.option(
    "--server", metavar="HOST:PORT", help="The decision service that the log-in is for, as it was named then."
)
@options.config
def logout(*, config_path: Path, server: str | None) -> None:
    """Forget your log-in for this configuration, or for --server.

    The issuer is told to revoke what it gave. What was given out for it (one-time passwords, SSH certificates) ends by
    itself within five minutes; `twokey sessions kill --party YOU` ends it at once, with its sessions.

    \b
    Examples:
      twokey logout
      twokey logout --server twokey.example.com:7443
    """
    place = logins.place_of(config_path, server)
    try:
        login = logins.read(place, os.environ)
    except CliError:
        login = None  # damaged: all the more a reason to remove it
    gone = logins.forget(place, os.environ)
    if not gone:
        click.echo("you were not logged in")
        return
    access, renewal = (False, False) if login is None else _revoked(login)
    if login is None or not renewal:
        click.echo("logged out here; the issuer revoked nothing")
    elif access:
        click.echo("logged out")
    else:
        click.echo("logged out; the issuer revokes no access tokens: the last one is good until it ends")


def _revoked(login: Login) -> tuple[bool, bool]:
    """Whether the access token was, and whether none can be got any more."""
    tokens = login.tokens
    try:
        with oauth.connected() as http:
            flow = oauth.OAuth(http, login.client, oauth.discover(http, login.client.issuer), login.key)
            access = flow.revoke(tokens.access, "access_token")
            return access, flow.revoke(tokens.refresh, "refresh_token") if tokens.refresh else access
    except CliError:
        return False, False
