"""A real psql that stays open: statements go in, and one can wait for what comes out. For the demo and for tests."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from decision.cli.errors import CliError

PROMPT_MARK = "--twokey-end-of-statement--"


class Terminal:
    """psql with pipes; its notices and errors come in the order it printed them."""

    def __init__(self, psql: Path, environment: Mapping[str, str], arguments: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [str(psql), "-X", "-v", "ON_ERROR_STOP=0", "-P", "pager=off", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._output = ""
        self._seen = 0
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def process(self) -> subprocess.Popen[str]:
        return self._process

    def send(self, text: str) -> None:
        """A line, as typed."""
        if self._process.stdin is None:
            raise CliError("psql takes no input")
        try:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CliError(f"psql ended early:\n{self.output}") from None

    def start(self, statement: str) -> None:
        """Send a statement whose end `finish` waits for."""
        self.send(f"{statement}\n\\echo {PROMPT_MARK}")

    def finish(self, *, timeout_s: float = 20.0) -> str:
        """What psql printed for the statement sent by `start`. Raises CliError when it takes too long."""
        text = self.wait_for(re.escape(PROMPT_MARK), timeout_s=timeout_s)
        return text.replace(PROMPT_MARK, "").strip("\n")

    def run(self, statement: str, *, timeout_s: float = 20.0) -> str:
        self.start(statement)
        return self.finish(timeout_s=timeout_s)

    def wait_for(self, pattern: str, *, timeout_s: float = 20.0) -> str:
        """New output up to and with `pattern`; what follows stays for the next call. Raises CliError."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while (found := re.search(pattern, self._output[self._seen :])) is None:
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise CliError(f"psql never printed /{pattern}/; it printed:\n{self._output[self._seen :]}")
                self._more.wait(min(left, 0.5))
            start, self._seen = self._seen, self._seen + found.end()
            return self._output[start : self._seen]

    @property
    def output(self) -> str:
        """Everything so far."""
        with self._more:
            return self._output

    def close(self, *, timeout_s: float = 10.0) -> int:
        """End of input, and the exit status."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join(timeout_s)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def _read(self) -> None:
        stream = self._process.stdout
        while stream is not None and (line := stream.readline()):
            with self._more:
                self._output += line
                self._more.notify_all()
        with self._more:
            self._more.notify_all()
