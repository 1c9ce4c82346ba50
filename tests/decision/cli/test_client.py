"""Tokens come from files, never arguments; errors say what to do; only the named CA is believed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from twokey.approval.v1 import approval_pb2, approval_pb2_grpc

from decision.cli import certificates, client
from decision.cli.errors import CliError
from decision.cli.main import main


class Approvals(approval_pb2_grpc.ApprovalServiceServicer):  # type: ignore[misc]  # generated without types
    """Answers as told, and remembers what it was sent."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str]] = []
        self.approval = approval_pb2.Approval(id="apr_1", state=approval_pb2.STATE_PENDING, quorum=1)

    def Get(self, request: approval_pb2.GetRequest, context: grpc.ServicerContext) -> approval_pb2.Approval:
        self.metadata = [(str(key), str(value)) for key, value in context.invocation_metadata()]
        return self.approval

    def Approve(self, request: approval_pb2.ApproveRequest, context: grpc.ServicerContext) -> approval_pb2.Approval:
        info = error_details_pb2.ErrorInfo(reason="APPROVAL_DENIED", metadata={"next": "ask again"})
        detail = any_pb2.Any()
        detail.Pack(info)
        status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="too late", details=[detail])
        context.abort_with_status(rpc_status.to_status(status))
        return self.approval

    def Watch(
        self, request: approval_pb2.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[approval_pb2.Approval]:
        yield self.approval
        yield approval_pb2.Approval(id="apr_1", state=approval_pb2.STATE_DENIED)


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service = Approvals()
        self.tls = certificates.make("test")
        self.grpc = grpc.server(futures.ThreadPoolExecutor(2))
        approval_pb2_grpc.add_ApprovalServiceServicer_to_server(self.service, self.grpc)
        credentials = grpc.ssl_server_credentials([(self.tls.key.encode(), self.tls.cert.encode())])
        self.address = f"127.0.0.1:{self.grpc.add_secure_port('127.0.0.1:0', credentials)}"
        (folder / "ca.pem").write_text(self.tls.ca)
        (folder / "token").write_text("t0ken\n")
        (folder / "token").chmod(0o600)
        self.grpc.start()

    def run(self, *arguments: str, ca: str = "ca.pem") -> tuple[int, str]:
        options = ["--server", self.address, "--ca", str(self.folder / ca), "--token-file", str(self.folder / "token")]
        result = CliRunner().invoke(main, [*arguments, *options])
        return result.exit_code, result.output


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.grpc.stop(None).wait()


def test_the_token_travels_as_metadata(server: Server) -> None:
    code, output = server.run("approvals", "show", "apr_1")
    assert code == 0
    assert "apr_1  pending" in output
    assert ("authorization", "Bearer t0ken") in server.service.metadata


def test_an_error_is_one_line_and_a_next_step(server: Server) -> None:
    assert server.run("approvals", "approve", "apr_1") == (1, "twokey: too late (APPROVAL_DENIED)\n        ask again\n")


def test_a_server_of_another_ca_is_not_believed_and_gets_no_token(server: Server) -> None:
    (server.folder / "other.pem").write_text(certificates.make("other").ca)
    code, output = server.run("approvals", "show", "apr_1", ca="other.pem")
    assert code == 4
    assert "no answer" in output
    assert server.service.metadata == []


def test_waiting_ends_with_the_answer(server: Server) -> None:
    code, output = server.run("approvals", "wait", "apr_1")
    assert code == 5  # denied
    assert "apr_1 denied" in output


def test_hostile_text_of_an_approval_is_shown_escaped(server: Server) -> None:
    server.service.approval.operation.sql.values.statement = "DELETE\x1b[8m FROM t\u202e".encode()
    server.service.approval.reasons.add(rule="r", reason="x\x1b]0;pwn\x07")
    server.service.approval.operation.sql.opaque = True
    code, output = server.run("approvals", "show", "apr_1")
    assert code == 0
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "DELETE\\x1b[8m FROM t\\u202e" in output
    assert "WHAT YOU CAN'T SEE HERE" in output


def test_nobody_there(server: Server) -> None:
    server.grpc.stop(None).wait()
    code, output = server.run("approvals", "show", "apr_1")
    assert code == 4
    assert "no answer" in output


def test_no_token_is_an_error_that_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    options = ["--server", "127.0.0.1:1", "--ca", str(tmp_path / "ca.pem")]
    result = CliRunner().invoke(main, ["approvals", "list", *options])
    assert result.exit_code == 1
    assert "--token-file" in result.output


@pytest.mark.parametrize("arguments", [["--server", "nowhere"], ["--server", "127.0.0.1:1"]])
def test_a_server_needs_a_port_and_a_ca(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["approvals", "list", *arguments])
    assert result.exit_code == 1
    assert "--server" in result.output


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t0ken")
    path.chmod(0o644)
    with pytest.raises(CliError, match="others may read"):
        client.read_token(path)
    path.chmod(0o600)
    assert client.read_token(path) == "t0ken"


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb", "x" * 70_000, "\x1b[0m", "tokén"])
def test_what_is_no_token(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(CliError, match="not a token"):
        client.read_token(Path("-"))


def test_there_is_no_option_that_takes_a_token() -> None:
    for command in ("list", "show", "approve"):
        output = CliRunner().invoke(main, ["approvals", command, "--help"]).output
        assert "--token-file" in output
        assert "--token " not in output
