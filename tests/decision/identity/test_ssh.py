"""SSH certificates and lists of revoked ones, as OpenSSH's own ssh-keygen reads them."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ecdsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)

from decision.errors import BadRequestError, PolicyLoadError
from decision.identity import ssh
from decision.identity.krl import revocation_list
from decision.identity.ssh import PrivateKey, SshAuthority, Wanted
from decision.model import IdentityKey, VerifiedToken
from tools import openssh

IDP = "https://idp.example"
NOW = datetime.now(UTC)


def private(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def line(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def token(name: str = "t-1", *, lives_s: int = 3600) -> VerifiedToken:
    return VerifiedToken(
        identity=IdentityKey(IDP, "alice"),
        actors=(IdentityKey(IDP, "executor-7"), IdentityKey(IDP, "planner-3")),
        roles=("executor",),
        expires=NOW + timedelta(seconds=lives_s),
        token_id=name,
        dev=False,
        issuer=IDP,
        issued=NOW,
    )


USER = Ed25519PrivateKey.generate()
CA = SshAuthority.read(private(Ed25519PrivateKey.generate()))


def certified(key: PrivateKey = USER, *, of: VerifiedToken | None = None, command: str = "", address: str = "") -> str:
    public = ssh.read_public_key(line(key))
    wanted = Wanted(key=public, connection="bastion", role="executor", command=command, address=address)
    return CA.certify(wanted, of or token(), now=NOW).text


def shown(folder: Path, text: str) -> str:
    """What ssh-keygen says of it."""
    file = folder / "key-cert.pub"
    file.write_text(text + "\n")
    done = subprocess.run(
        [openssh.tool("ssh-keygen"), "-L", "-f", str(file)], capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("key", [USER, ecdsa(SECP256R1()), rsa(65537, 2048)], ids=["ed25519", "ecdsa", "rsa"])
def test_ssh_keygen_reads_what_was_signed(tmp_path: Path, key: PrivateKey) -> None:
    found = shown(tmp_path, certified(key, command="uptime -p", address="192.0.2.7"))
    assert "user certificate" in found
    assert f'Key ID: "{ssh.key_id(token())}"' in found
    assert re.search(r"Principals: \n\s+executor\+bastion\n\s+Critical Options:", found)
    assert "force-command uptime -p" in found
    assert "source-address 192.0.2.7" in found
    assert "permit-pty" in found
    assert "forwarding" not in found
    said = dict(re.findall(r"(\w+)@twokey UNKNOWN OPTION: ([0-9a-f]+)", found))
    assert set(said) == {"actors", "connection", "role", "subject"}


def test_whose_it_is_stands_in_extensions() -> None:
    read = load_ssh_public_identity(certified().encode())
    assert isinstance(read, SSHCertificate)
    read.verify_cert_signature()
    said = {name.decode(): value.decode() for name, value in read.extensions.items()}
    assert json.loads(said["subject@twokey"]) == {"iss": IDP, "sub": "alice"}
    assert [one["sub"] for one in json.loads(said["actors@twokey"])] == ["executor-7", "planner-3"]
    assert (said["role@twokey"], said["connection@twokey"]) == ("executor", "bastion")
    assert read.critical_options == {}


def test_the_longest_chain_still_fits(tmp_path: Path) -> None:
    actors = tuple(IdentityKey(f"{n}" * 1024, "é\u2028" * 512) for n in range(8))
    text = certified(of=replace(token(), actors=actors))
    assert "executor+bastion" in shown(tmp_path, text)
    read = load_ssh_public_identity(text.encode())
    assert isinstance(read, SSHCertificate)
    assert len(json.loads(read.extensions[b"actors@twokey"])) == 8


@pytest.mark.parametrize("lives_s", [5, 60, 289, 290, 291, 86_400])
def test_it_ends_with_its_token_and_within_five_minutes(lives_s: int) -> None:
    read = load_ssh_public_identity(certified(of=token(lives_s=lives_s)).encode())
    assert isinstance(read, SSHCertificate)
    assert read.valid_before - read.valid_after <= 300
    assert read.valid_before <= (NOW + timedelta(seconds=lives_s)).timestamp()


def test_every_loopback_address_is_one_host(tmp_path: Path) -> None:
    assert "source-address 127.0.0.0/8,::1/128" in shown(tmp_path, certified(address="loopback"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "x" * 9000,
        line(rsa(65537, 1024)),
        "ssh-dss AAAAB3NzaC1kc3MAAAABAQAAAAEBAAAAAQEAAAABAQ==",
        line(USER) + "\n" + line(USER),
        private(USER),
        certified(),
        'command="sh" ' + line(USER),
        line(USER) + " \x00",
    ],
    ids=range(11),  # keys are made anew in every process
)
def test_a_key_that_is_none(text: str) -> None:
    with pytest.raises(BadRequestError):
        ssh.read_public_key(text)


def test_an_authority_that_is_none_is_refused_without_being_shown() -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    short = rsa(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in ("", "hunter2", locked.decode(), short.decode(), line(USER)):
        with pytest.raises(PolicyLoadError) as caught:
            SshAuthority.read(text)
        assert not text or text not in str(caught.value)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert SshAuthority.read(pem.decode().rstrip("\n")).public.startswith(b"ssh-ed25519 ")


def test_ssh_keygen_finds_the_revoked_ones_in_the_list(tmp_path: Path) -> None:
    blob = b64decode(CA.public.split()[1])
    for name in ("t-1", "t-2"):
        (tmp_path / f"{name}-cert.pub").write_text(certified(of=token(name)) + "\n")

    def revoked(name: str, *names: str) -> bool:
        (tmp_path / "krl").write_bytes(
            revocation_list(blob, [ssh.key_id(token(one)) for one in names], version=7, now=int(NOW.timestamp()))
        )
        done = subprocess.run(
            [openssh.tool("ssh-keygen"), "-Q", "-f", str(tmp_path / "krl"), str(tmp_path / f"{name}-cert.pub")],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
        assert (done.returncode == 0) != ("REVOKED" in done.stdout), done.stdout + done.stderr
        return done.returncode != 0

    assert not revoked("t-1")
    assert revoked("t-1", "t-1")
    assert revoked("t-2", "t-1", "t-2")
    assert not revoked("t-2", "t-1", "t-3")
