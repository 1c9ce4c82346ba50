"""Talking to the decision service as a person: whom to reach and believe, with which token, and what errors mean."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would write its own lines to people's terminals

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from decision.cli import config, dpop, logins, runfile, schema
from decision.cli.errors import CliError, UnreachableError
from decision.cli.options import Who

TIMEOUT_S = 10.0
MAX_TOKEN = 64 * 1024
MAX_MESSAGE = 64 * 1024 * 1024  # an approval shows a whole statement, and statements may have 16 MiB


@dataclass(frozen=True, slots=True)
class Caller:
    """One command's connection. `metadata` carries the token; it never appears in repr or arguments."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = field(repr=False)

    def stub(self, factory: Callable[[grpc.Channel], Any]) -> Any:
        """A service's stub on this channel; untyped, as grpc_tools generates them."""
        return factory(self.channel)


@contextmanager
def connect(who: Who) -> Iterator[Caller]:
    """A channel to --server, or to what runs under the configuration; RPC errors inside become CliErrors."""
    address, ca_pem, name = _whom(who)
    token, signer = _mine(who)
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem)
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.enable_http_proxy", 0),
    ]
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    with grpc.secure_channel(address, credentials, options=options) as channel:
        used = channel
        if signer is not None:
            used = grpc.intercept_channel(channel, dpop.Signing(signer, f"https://{address}"))
        try:
            yield Caller(used, (("authorization", f"Bearer {token}"),))
        except grpc.RpcError as error:
            raise explain(error, address) from None


def _mine(who: Who) -> tuple[str, dpop.Signer | None]:
    """The token and the key it is bound to: those that were named, else those of the log-in. Raises CliError."""
    if who.token_file is not None:
        return read_token(who.token_file), None if who.dpop_key is None else dpop.read_key(who.dpop_key)
    if who.dpop_key is not None:
        raise CliError("--dpop-key goes with --token-file")
    login = logins.current(logins.place_of(who.config_path, who.server), os.environ)
    return login.tokens.access, login.key


def _whom(who: Who) -> tuple[str, bytes, str]:
    """Its address, the authorities of its certificate, and what that names where it isn't the address."""
    server, ca = who.server, who.ca
    if server is None:
        if ca is not None:
            raise CliError("--ca goes with --server")
        run = runfile.read(config.load(who.config_path).run_file)
        return run.decision, _authorities(Path(run.ca_file)) if run.ca_file else run.ca.encode(), run.name
    try:
        schema.split_address(server)
    except ValueError as error:
        raise CliError(f"--server {error}") from None
    if ca is None:
        raise CliError("--server needs --ca", next_step="the CA's certificate is in the server's state/run.json")
    return server, _authorities(ca), ""


def _authorities(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{path} can't be read: {error.strerror}") from None


def read_token(path: Path) -> str:
    """From a file or standard input. Raises CliError: unreadable, open to others, or no token in it."""
    if str(path) == "-":
        text = sys.stdin.read(MAX_TOKEN + 1)
    else:
        try:
            with path.open(encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                    raise CliError(f"others may read the token in {path}", next_step=f"chmod 600 {path}")
                text = file.read(MAX_TOKEN + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"the token file {path} can't be read: {type(error).__name__}") from None
    token = text.strip()
    if not token or len(text) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise CliError("what was given is not a token", next_step="it is one line, as `twokey token` prints it")
    return token


_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def explain(error: grpc.RpcError, address: str) -> CliError:
    """An RPC's failure in one line: what the service said, its reason code, and what to do next."""
    if not isinstance(error, grpc.Call):
        return CliError("the call failed without saying why")
    code, details = error.code(), error.details() or ""
    reason, next_step = "", ""
    status = rpc_status.from_call(error) if code is not grpc.StatusCode.OK else None
    for detail in status.details if status is not None else ():
        info, help_ = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            reason = info.reason
            next_step = next_step or info.metadata.get("next", "") or info.metadata.get("next_step", "")
        elif detail.Is(help_.DESCRIPTOR) and detail.Unpack(help_) and help_.links:
            next_step = help_.links[0].description
    if code in _UNREACHABLE and not reason:
        return UnreachableError(f"no answer from {address}", next_step="is `twokey up` running? `twokey doctor` looks")
    message = details or code.name.lower().replace("_", " ")
    return CliError(f"{message} ({reason or code.name})", next_step=next_step)
