"""Plans for the end-to-end tests: proposed, approved and started by the command line, carried out by psycopg."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from decision.cli.demo.stack import Stack
from tests.e2e.clients import connect

Client = psycopg.Connection[tuple[object, ...]]


@dataclass
class Planned:
    stack: Stack
    id: str
    approval: str

    def run(self, *words: str, by: str = "executor-7", role: str = "executor") -> str:
        """What `twokey plan` says, to either output."""
        done = self.stack.twokey("plan", *words, token=self.stack.token(by, role))
        return done.stdout + done.stderr

    def start(self) -> str:
        done = self.stack.twokey("plan", "start", self.id, "--json", token=self.stack.token("executor-7", "executor"))
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["id"])

    def shown(self, by: str = "frank", role: str = "admin") -> dict[str, object]:
        done = self.stack.twokey("plan", "show", self.id, "--json", token=self.stack.token(by, role))
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def connect(self) -> AbstractContextManager[Client]:
        return connect(self.stack, "executor", options=f"-c twokey.plan={self.id}")


def written(stack: Stack, steps: str, **more: str) -> Path:
    head = {"connection": "company", "executor": "executor-7", "intent": "tidy up", **more}
    text = "".join(f"{key}: {value}\n" for key, value in head.items()) + f"steps:\n{steps}"
    path = Path(stack.folder) / "plan.yaml"
    path.write_text(text)
    return path


def propose(stack: Stack, steps: str, *, by: str = "planner-3", **more: str) -> Planned:
    path = written(stack, steps, **more)
    done = stack.twokey("plan", "propose", str(path), "--json", token=stack.token(by, "planner"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Planned(stack, found["id"], found["approval"])


def approve(plan: Planned, by: str = "bob") -> None:
    done = plan.stack.twokey("approvals", "approve", plan.approval, token=plan.stack.token(by, "reviewer"))
    assert done.returncode == 0, done.stderr


def refused(client: Client, statement: str, values: Sequence[object] = (), *, by: str = "55000") -> str:
    with pytest.raises(psycopg.Error) as error:
        client.execute(statement.encode(), values or None)
    assert error.value.sqlstate == by, error.value
    return str(error.value)


def state(plan: Planned) -> tuple[object, object, object]:
    execution = plan.shown()["execution"]
    assert isinstance(execution, dict)
    return execution["state"], execution["next_step"], execution["reason"]
