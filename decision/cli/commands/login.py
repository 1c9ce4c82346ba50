"""`twokey login`: a token for a person, and for clients that can't sign what it gets: passwords, SSH certificates."""

from __future__ import annotations

import json
import os
import time
import webbrowser
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from twokey.decision.v1 import decision_pb2, decision_pb2_grpc

from decision.cli import client, config, logins, oauth, options, ssh_files
from decision.cli.errors import CliError
from decision.cli.logins import Login
from decision.cli.loopback import Listener
from decision.cli.oauth import Client, OAuth, Tokens
from decision.cli.options import Who
from decision.showing import render

RENEW_EARLY_S: Final = 60.0
RETRY_S: Final = 10.0


@click.command()
@click.option(
    "--issuer", metavar="URL", help="Which issuer to log in at, where the configuration has several, or none."
)
@click.option(
    "--client", "client_id", metavar="ID", help="With --issuer and no configuration: the client to log in as."
)
@click.option("--device", is_flag=True, help="Log in with a code on another device: no browser is needed here.")
@click.option("--no-browser", is_flag=True, help="Only print the address; don't open it.")
@click.option("--connection", metavar="NAME", help="A one-time password, or with --ssh a certificate, for this one.")
@click.option("--role", metavar="ROLE", help="With --connection: the role to activate.")
@click.option("--uses", type=click.IntRange(1, 64), help="Sessions a password opens: 1, unless policy grants more.")
@click.option("--ssh", is_flag=True, help="An SSH certificate for five minutes instead of a password.")
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --ssh: the key's file; made where there is none.",
)
@click.option("--command", metavar="COMMAND", help="With --ssh: the only command the certificate runs.")
@click.option("--keep", is_flag=True, help="With --ssh: stay, and renew the certificate until interrupted.")
@options.caller
@options.as_json
def login(
    *,
    issuer: str | None,
    client_id: str | None,
    device: bool,
    no_browser: bool,
    connection: str | None,
    role: str | None,
    uses: int | None,
    ssh: bool,
    key: Path | None,
    command: str | None,
    keep: bool,
    who: Who,
    as_json: bool,
) -> None:
    """Log in at your issuer; the other commands use that log-in until `twokey logout`.

    With --connection, print a one-time password for a session of your token's, and nothing else: good for one minute,
    one connection, one role, from this machine's address, once. With --ssh too, write a key and a certificate of at
    most five minutes. Where your token is bound to a key, this proves it: psql and ssh can't.

    \b
    Examples:
      twokey login
      export PGPASSWORD=$(twokey login --connection crm --role executor)
      psql -h 127.0.0.1 -p 6432 -U executor crm
      twokey login --ssh --connection bastion --role executor
    """
    if (connection is None) != (role is None):
        raise click.UsageError("--connection goes with --role")
    if not ssh and (key is not None or command is not None or keep):
        raise click.UsageError("--key, --command and --keep go with --ssh")
    if any("/" in (name or "") for name in (connection, role)):
        raise click.UsageError("a connection or role has no / in its name")
    if connection is None or role is None:
        if ssh or uses is not None:
            raise click.UsageError("a certificate or password is for a --connection and a --role")
        _log_in(who, issuer, client_id, device=device, browser=not no_browser, as_json=as_json)
    elif ssh:
        if uses is not None:
            raise click.UsageError("a certificate has no number of uses")
        file = key or Path.home() / ".ssh" / f"twokey-{connection}-{role}"
        _certificate(who, connection, role, file, command or "", keep=keep, as_json=as_json)
    else:
        request = decision_pb2.IssueSessionCredentialRequest(connection=connection, role=role, uses=uses or 1)
        answer = _issued(who, request)
        if as_json:
            found = {"password": answer.credential, "expires": render.when(answer.expires)}
            click.echo(json.dumps(found, ensure_ascii=True))
        else:
            click.echo(answer.credential)


def _issued(
    who: Who, request: decision_pb2.IssueSessionCredentialRequest
) -> decision_pb2.IssueSessionCredentialResponse:
    with client.connect(who) as caller:
        stub = caller.stub(decision_pb2_grpc.DecisionServiceStub)
        answer = stub.IssueSessionCredential(request, metadata=caller.metadata, timeout=client.TIMEOUT_S)
        if not isinstance(answer, decision_pb2.IssueSessionCredentialResponse):
            raise CliError("the service answered something else")
        return answer


# A person's log-in


def _log_in(who: Who, issuer: str | None, client_id: str | None, *, device: bool, browser: bool, as_json: bool) -> None:
    asked = _client(who, issuer, client_id)
    with oauth.connected() as http:
        provider = oauth.discover(http, asked.issuer)
        signer = oauth.new_key()
        flow = OAuth(http, asked, provider, signer)
        tokens = _by_device(flow) if device else _by_browser(flow, browser=browser)
    place = logins.place_of(who.config_path, who.server)
    kept = Login(place=place, client=asked, tokens=tokens, key=signer if tokens.bound else None)
    path = logins.write(kept, os.environ)
    ends = datetime.fromtimestamp(tokens.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if tokens.expires else ""
    if as_json:
        click.echo(json.dumps({"issuer": asked.issuer, "bound": tokens.bound, "expires": ends, "file": str(path)}))
        return
    how = "bound to a key of this machine's" if tokens.bound else "not bound to a key: whoever has the file has it"
    click.echo(f"logged in at {render.safe(asked.issuer)}; {how}")
    if ends:
        click.echo(f"until {ends}" + (", and renewed then" if tokens.refresh else ""))


def _by_browser(flow: OAuth, *, browser: bool) -> Tokens:
    def show(url: str) -> None:
        click.echo(f"log in at\n  {url}", err=True)
        if browser:
            webbrowser.open(url)

    with Listener() as listener:
        return flow.code(listener.redirect, show, listener.wait)


def _by_device(flow: OAuth) -> Tokens:
    found = flow.device()
    click.echo(f"log in at\n  {render.safe(found.complete or found.uri)}", err=True)
    click.echo(f"the code is {render.safe(found.user_code)}", err=True)
    return flow.poll(found, sleep=time.sleep, now=time.monotonic)


def _client(who: Who, issuer: str | None, client_id: str | None) -> Client:
    """Raises CliError, UsageError."""
    if client_id is not None:
        if issuer is None:
            raise click.UsageError("--client goes with --issuer")
        return Client(issuer=issuer, client=client_id)
    if who.server is not None:
        raise click.UsageError("--server needs --issuer and --client to log in at")
    found = [
        one
        for one in config.load(who.config_path).config.identity.issuers
        if one.login is not None and issuer in {None, one.issuer}
    ]
    if not found:
        raise CliError(
            "the configuration names no issuer that people log in at", next_step="add `login: {client: …}` to it"
        )
    if len(found) > 1:
        raise click.UsageError(f"which issuer? --issuer takes one of {', '.join(one.issuer for one in found)}")
    chosen, login = found[0], found[0].login
    if login is None:
        raise CliError("the issuer has no `login`")
    return Client(
        issuer=chosen.issuer,
        client=login.client,
        scopes=tuple(login.scopes),
        resource=login.resource or "",
        parameters=login.parameters,
    )


# SSH


def _certificate(who: Who, connection: str, role: str, file: Path, command: str, *, keep: bool, as_json: bool) -> None:
    def once() -> datetime:
        request = decision_pb2.IssueSessionCredentialRequest(
            connection=connection, role=role, ssh_public_key=ssh_files.public_key(file), force_command=command
        )
        answer = _issued(who, request)
        ssh_files.write_certificate(file, answer.credential)
        _tell(file, f"{role}+{connection}", answer, as_json=as_json)
        return answer.expires.ToDatetime(tzinfo=UTC)

    if not keep:
        once()
        return
    keep_renewed(once, sleep=time.sleep, now=lambda: datetime.now(UTC))


def keep_renewed(once: Callable[[], datetime], *, sleep: Callable[[float], None], now: Callable[[], datetime]) -> None:
    """Again and again, a minute before it ends; until interrupted, or refused after it has ended. Raises CliError."""
    ends = once()
    while True:
        sleep(max((ends - now()).total_seconds() - RENEW_EARLY_S, RETRY_S))
        try:
            ends = once()
        except CliError as error:
            if now() >= ends:
                raise
            click.echo(f"twokey: not renewed yet: {render.safe(str(error))}", err=True)


def _tell(file: Path, user: str, answer: decision_pb2.IssueSessionCredentialResponse, *, as_json: bool) -> None:
    certificate = ssh_files.certificate(file)
    ends = render.when(answer.expires)
    if as_json:
        click.echo(json.dumps({"key": str(file), "certificate": str(certificate), "user": user, "expires": ends}))
        return
    seconds = max(int(answer.expires.seconds - time.time()), 1)
    click.echo(f"{certificate}, until {ends}")
    click.echo(f"  ssh -i {file} {user}@GATEWAY, or for an agent: ssh-add -t {seconds} {file}")
