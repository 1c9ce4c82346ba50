"""Certificate and key of a listener: from their sources, a pair, and read again all or nothing."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from enforcers.core import tls as module
from enforcers.core.errors import SettingsError
from enforcers.core.tls import ServerTls, server_context
from enforcers.secret import Secret
from enforcers.settings import EnvSource, ExecSource, FileSource, Source, Tls
from tests.enforcers.postgres.certificates import certificate


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    made = certificate(tmp_path, "one.example")
    made[1].chmod(0o600)
    return made


def listener(pair: tuple[Path, Path], key: Source | None = None) -> ServerTls:
    variables = {"GATE_KEY": Secret(pair[1].read_text())} if pair[1].exists() else {}
    settings = Tls(certificate=str(pair[0]), key=key or FileSource(str(pair[1])))
    return ServerTls(settings, variables, protocols=["postgresql"])


def shown(context: ssl.SSLContext) -> bytes:
    """The certificate that a client gets to see, and what was agreed on."""
    ours, theirs = socket.socketpair()
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours.close()
    theirs.close()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    client = asking.wrap_bio(outgoing, incoming)
    done = False
    while not done:
        done = True
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                done = False
    assert client.version() == "TLSv1.3"
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


async def test_the_key_from_every_kind_of_source(pair: tuple[Path, Path]) -> None:
    for source in (FileSource(str(pair[1])), ExecSource(("cat", str(pair[1]))), EnvSource("GATE_KEY")):
        one = listener(pair, source)
        await one.load()
        assert shown(one.context) == der(pair[0])


@pytest.mark.parametrize("broken", ["other", "text", "missing", "open", "passphrase"])
async def test_what_is_no_pair_is_refused_and_shows_nothing(
    pair: tuple[Path, Path], tmp_path: Path, broken: str
) -> None:
    if broken == "other":
        pair = (pair[0], certificate(tmp_path, "two.example")[1])
        pair[1].chmod(0o600)
    elif broken == "text":
        pair[1].write_text("canary")
    elif broken == "missing":
        pair[0].unlink()
    elif broken == "open":
        pair[1].chmod(0o644)
    else:
        key = serialization.load_pem_private_key(pair[1].read_bytes(), None)
        hidden = serialization.BestAvailableEncryption(b"x")
        kind = serialization.PrivateFormat.PKCS8
        pair[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, hidden))
    one = listener(pair)
    with pytest.raises(SettingsError, match="tls") as raised:
        await one.load()
    assert "canary" not in str(raised.value)
    with pytest.raises(SettingsError):
        assert one.context


async def test_a_reload_is_all_or_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    one = listener(pair)
    await one.load()
    first = der(pair[0])
    new = certificate(tmp_path, "two.example")
    shutil.copy(new[0], pair[0])  # without its key, as in the middle of a rotation
    assert not await one.reload()
    assert shown(one.context) == first
    shutil.copy(new[1], pair[1])
    pair[1].chmod(0o600)
    assert await one.reload()
    assert shown(one.context) == der(new[0]) != first


async def test_changed_files_are_noticed(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)
    one = listener(pair)
    await one.load()
    watching = asyncio.ensure_future(one.watch())
    new = certificate(tmp_path, "two.example")
    new[1].chmod(0o600)
    new[1].replace(pair[1])
    new[0].replace(pair[0])
    wanted = der(pair[0])
    async with asyncio.timeout(5):
        while shown(one.context) != wanted:  # noqa: ASYNC110 - the watch has no event to offer
            await asyncio.sleep(0.02)
    watching.cancel()


def test_old_protocols_are_refused(pair: tuple[Path, Path]) -> None:
    context = server_context(pair[0].read_bytes(), Secret(pair[1].read_text()))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    with pytest.raises(SettingsError):
        server_context(pair[0].read_bytes() * 200, Secret(pair[1].read_text()))
