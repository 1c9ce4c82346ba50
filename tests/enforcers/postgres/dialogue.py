"""A dialogue with the machine, no sockets: what goes in on the left, what it says on the right."""

from __future__ import annotations

from enforcers.postgres import wire
from enforcers.postgres.commands import Ask, Command
from enforcers.postgres.machine import SessionMachine
from tests.enforcers.postgres.fakes import ALLOW, Policy, ScriptedDescriber, ScriptedGate

P1, B2, C3, NODATA = (wire.message(k) for k in (b"1", b"2", b"3", b"n"))


NAMES_ROW = wire.data_row([b"db", b'["pg_catalog", "public"]', b"app", b"app"])


NAMES_ANSWER = C3 + P1 + B2 + NAMES_ROW + wire.message(b"C", b"SELECT 1\0") + C3


def tag(text: str) -> bytes:
    return wire.message(b"C", text.encode() + b"\0")


def error(state: str, text: str = "no") -> bytes:
    return wire.fields(b"E", [("S", "ERROR"), ("C", state), ("M", text)])


def kinds(data: bytes) -> str:
    found, position = "", 0
    while position < len(data):
        found += chr(data[position])
        position += 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    return found


class Dialogue:
    """A machine with its outputs taken out after every event."""

    def __init__(self, policy: Policy | None = None, gate: ScriptedGate | None = None) -> None:
        self.gate = gate or ScriptedGate(policy)
        self.describer = ScriptedDescriber()
        self.machine = SessionMachine(self.gate, self.describer)

    def _taken(self) -> tuple[bytes, bytes, list[Command]]:
        machine = self.machine
        client, target, commands = b"".join(machine.to_client), b"".join(machine.to_target), machine.commands.copy()
        machine.to_client.clear()
        machine.to_target.clear()
        machine.commands.clear()
        return client, target, commands

    def client(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        self.machine.receive_client(b"".join(messages))
        return self._taken()

    def target(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        self.machine.receive_target(b"".join(messages))
        return self._taken()

    def reply(self, value: object) -> tuple[bytes, bytes, list[Command]]:
        self.machine.resume(value)
        return self._taken()

    def named(self) -> Dialogue:
        """Past the first question for names, without a statement of the client's."""
        self.client(wire.query(b"SELECT warm"))
        _, _, commands = self.target(NAMES_ANSWER + wire.ready(b"I"))
        assert isinstance(commands[0], Ask)
        _, target, _ = self.reply(ALLOW)
        assert target == wire.query(b"SELECT warm")
        self.target(tag("SELECT 1"), wire.ready(b"I"))
        self.gate.ends.clear()
        self.gate.begun.clear()
        return self

    def begun(self) -> Dialogue:
        """In a transaction."""
        self.ask(wire.query(b"BEGIN"))
        self.target(tag("BEGIN"), wire.ready(b"T"))
        return self

    def failed(self) -> Dialogue:
        """In a transaction that has failed."""
        self.begun().ask(wire.query(b"SELECT x"))
        self.target(error("42P01"), wire.ready(b"E"))
        return self

    def ask(self, *messages: bytes) -> tuple[bytes, bytes, list[Command]]:
        """Send; answer the one question by the gate's policy."""
        _, _, commands = self.client(*messages)
        command = commands[0]
        assert isinstance(command, Ask)
        return self.reply(self.gate.rule(command.question))
