"""pgbouncer in session mode, from Debian's package, as an unprivileged user: the peer that does nothing but pass on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from decision.cli.children import die_with_parent
from decision.cli.demo.postgres_server import free_port
from tools.pgbouncer import libraries, obtain, program
from tools.setup import SetupError

START_S = 10.0


class Bouncer:
    """Raises SetupError when it can't be had, RuntimeError when it does not start."""

    def __init__(self, folder: Path, target_port: int, databases: Sequence[str], users: Mapping[str, str]) -> None:
        """folder: to be made, for its files. users: name to password, the target's own."""
        root = obtain()
        folder.mkdir(mode=0o755)
        copy = folder / "root"
        shutil.copytree(root, copy, symlinks=True)
        self.port = free_port()
        names = "".join(f"{name} = host=127.0.0.1 port={target_port} dbname={name}\n" for name in databases)
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{names}[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "unix_socket_dir =\npool_mode = session\nauth_type = scram-sha-256\n"
            f"auth_file = {folder / 'users.txt'}\nmax_client_conn = 200\ndefault_pool_size = 64\n"
            "server_tls_sslmode = disable\nlog_connections = 0\nlog_disconnections = 0\n",
            encoding="utf-8",
        )
        users_file = folder / "users.txt"
        users_file.write_text("".join(f'"{name}" "{word}"\n' for name, word in users.items()), encoding="utf-8")
        users_file.chmod(0o600)
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        for path in (folder, *folder.glob("*.*")) if nobody is not None else ():
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._log = (folder / "pgbouncer.log").open("ab")
        self.process = subprocess.Popen(
            [str(program(copy)), str(folder / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            user=None if nobody is None else nobody.pw_uid,
            group=None if nobody is None else nobody.pw_gid,
            extra_groups=None if nobody is None else [],
            cwd="/",
            env={"LD_LIBRARY_PATH": libraries(copy), "PATH": os.environ.get("PATH", "")},
            preexec_fn=die_with_parent,  # noqa: PLW1509 - makes one system call, through a library loaded before
        )
        try:
            self._wait()
        except RuntimeError:
            self.stop()
            raise RuntimeError(f"pgbouncer did not start: {(folder / 'pgbouncer.log').read_text()[-500:]}") from None

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


__all__ = ["Bouncer", "SetupError"]
