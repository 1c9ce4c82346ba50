"""The key and the certificate of `twokey login --ssh`, where ssh and ssh-add look for them.

The key is made once for each file and stays: a certificate makes it good for minutes at a time. Both are 0600.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from decision.cli.errors import CliError

_MAX: Final = 64 * 1024


def public_key(path: Path) -> str:
    """Of the key in `path`, which is made where there is none. Raises CliError: others may read it, or it is none."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CliError(f"the key {path} can't be read: {error.strerror}") from None
    key = Ed25519PrivateKey.generate()
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), new=True)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(path.with_name(f"{path.name}.pub"), public + b" twokey\n", new=False)
    return public.decode("ascii")


def certificate(path: Path) -> Path:
    """Where ssh looks for the certificate of the key in `path`."""
    return path.with_name(f"{path.name}-cert.pub")


def write_certificate(path: Path, text: str) -> None:
    """All at once. Raises CliError."""
    _write(certificate(path), text.encode("ascii", "replace") + b"\n", new=False)


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise CliError(f"others may read the key {path}", next_step=f"chmod 600 {path}")
        data = file.read(_MAX)
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CliError(
            f"{path} is no OpenSSH key without a passphrase", next_step="name another file with --key; it is made"
        ) from None
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def _write(path: Path, data: bytes, *, new: bool) -> None:
    draft = path if new else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not new:
            draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        if not new:
            draft.replace(path)
    except OSError as error:
        raise CliError(f"{path} can't be written: {error.strerror}") from None
