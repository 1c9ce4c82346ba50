"""A real sshd of one's own, unprivileged, on a port of loopback: it believes one authority's certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from tools import openssh

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile none
TrustedUserCAKeys {folder}/ca.pub
AuthorizedPrincipalsFile {folder}/principals
RevokedKeys {folder}/krl
LogLevel VERBOSE
"""


class Sshd:
    """It runs as whoever runs this, or as nobody's uid where that is root, and knows one user, `user`, of that uid."""

    user = "worker"

    def __init__(self, ca: str, port: int) -> None:
        uid, gid = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        self._as = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.port = port
        self.log = ""
        self.folder = Path(tempfile.mkdtemp(prefix="twokey-sshd-"))
        self.folder.chmod(0o755)
        self.trust(krl=None, principals="", ca=ca)
        subprocess.run(
            [openssh.tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host")],
            check=True,
            timeout=20,
        )
        if self._as:
            shutil.chown(self.folder / "host", uid, gid)
        (self.folder / "passwd").write_text(f"{self.user}:x:{uid}:{gid}::{self.folder}:/bin/sh\n")
        (self.folder / "group").write_text(f"{self.user}:x:{gid}:\n")
        (self.folder / "config").write_text(CONFIG.format(port=port, folder=self.folder))
        unpacked = openssh.obtain()
        shutil.copy(unpacked / "usr" / "sbin" / "sshd", self.folder)
        for library in unpacked.glob("**/lib*.so*"):
            shutil.copy(library, self.folder)

    def trust(self, *, krl: bytes | None, principals: str, ca: str = "") -> None:
        """What it reads anew for each connection."""
        if ca:
            (self.folder / "ca.pub").write_text(ca)
        (self.folder / "principals").write_text(principals + "\n")
        if krl is None:
            subprocess.run(
                [openssh.tool("ssh-keygen"), "-q", "-k", "-f", str(self.folder / "krl")], check=True, timeout=20
            )
        else:
            (self.folder / "krl").write_bytes(krl)
        (self.folder / "krl").chmod(0o644)

    def __enter__(self) -> Sshd:
        self._process = subprocess.Popen(
            [str(self.folder / "sshd"), "-D", "-e", "-f", str(self.folder / "config")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "PATH": "/usr/bin:/bin",
                "LD_LIBRARY_PATH": str(self.folder),
                "LD_PRELOAD": str(self.folder / "libnss_wrapper.so"),
                "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
                "NSS_WRAPPER_GROUP": str(self.folder / "group"),
            },
            cwd="/",
            **self._as,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log += line
            if "Server listening" in line:
                break
        else:
            raise AssertionError(self.log)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log += line

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(20)
        assert self._process.stderr is not None
        self._process.stderr.close()
        shutil.rmtree(self.folder)

    def ssh(self, key: Path, *command: str) -> tuple[bool, str]:
        """Whether the log-in was taken, and what the client and its session said."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"]
        done = subprocess.run(
            [openssh.tool("ssh"), "-v", "-F", "none", "-i", str(key), "-p", str(self.port)]
            + [part for option in options for part in ("-o", option)]
            + [f"{self.user}@127.0.0.1", *command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
        return "Authenticated to" in done.stderr, done.stdout + done.stderr
