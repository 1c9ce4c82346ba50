"""An own client that logs in by OAUTHBEARER, byte for byte, through the gateway of a whole stack."""

from __future__ import annotations

import json
import socket
import struct

from decision.cli.demo.stack import DATABASE, Stack

OFFER = b"R\x00\x00\x00\x15\x00\x00\x00\x0aOAUTHBEARER\x00\x00"


class Client:
    def __init__(self, stack: Stack, role: str) -> None:
        self.socket = socket.create_connection(stack.address(DATABASE), timeout=30)
        options = b"-c twokey.login=oauth"
        body = b"user\0" + role.encode() + b"\0database\0" + DATABASE.encode() + b"\0options\0" + options + b"\0\0"
        self.socket.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
        assert self.read(len(OFFER)) == OFFER

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "closed"
            data += more
        return data

    def message(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack("!cI", self.read(5))
        return kind, self.read(length - 4)

    def say(self, token: str) -> tuple[bytes, bytes]:
        data = b"n,,\x01auth=" + (b"Bearer " + token.encode() if token else b"") + b"\x01\x01"
        self.send(b"OAUTHBEARER\0" + struct.pack("!I", len(data)) + data)
        return self.message()

    def send(self, body: bytes) -> None:
        self.socket.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_a_token_opens_a_session(stack: Stack) -> None:
    with Client(stack, "executor") as client:
        assert client.say(stack.token("executor-7", "executor")) == (b"R", b"\0\0\0\0")
        kind = b""
        while kind != b"Z":
            kind, _ = client.message()
        client.socket.sendall(b"Q" + struct.pack("!I", 14) + b"SELECT 42\0")
        kinds = []
        while kind != b"C":
            kind, body = client.message()
            kinds.append((kind, body))
        assert (b"D", b"\0\x01\0\0\0\x0242") in kinds


def test_a_refusal_is_a_status_an_answer_and_an_error(stack: Stack) -> None:
    for token in ("", "not.a.token", stack.token("executor-7", "executor")[:-8] + "AAAAAAAA"):
        with Client(stack, "executor") as client:
            kind, body = client.say(token)
            assert (kind, body[:4]) == (b"R", struct.pack("!I", 11)), body
            assert json.loads(body[4:])["status"] == "invalid_token"
            client.send(b"\x01")
            kind, body = client.message()
            assert kind == b"E"
            assert b"C28000\0" in body
            assert client.socket.recv(1) == b""


def test_a_malformed_message_is_a_protocol_violation(stack: Stack) -> None:
    with Client(stack, "executor") as client:
        client.send(b"SCRAM-SHA-256\0\0\0\0\x03n,,")
        kind, body = client.message()
        assert kind == b"E"
        assert b"C08P01\0" in body
