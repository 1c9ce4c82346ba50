"""Obligations that the gateway can't meet or has never heard of: the act is a denial, and stands in the log as one.

The shipped files can't attach such (they are refused at load), so a rule of the policy author's own does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import psycopg
import pytest

from decision.cli.demo.stack import CONFIG, Stack
from decision.policy.bundle import shipped_rego
from tests.e2e.clients import admin, connect
from tests.e2e.obliged import CONNECTION, ROLES, TABLES, log, mark, outcome, state, statement_of

ATTACHED = {"unmet": "notify", "unknown": "zz-unknown"}
RULE = """
obligations contains {{"type": "{kind}", "parameters": {{}}}} if {{
	facts.is_operation
	input.resource.id == "{connection}"
	facts.verbs & {{"sql.update", "sql.copy-from"}} != set()
}}
"""


@pytest.fixture(scope="module")
def odd() -> Iterator[Stack]:
    connections = "".join(CONNECTION.format(name=name, environment="development") for name in ATTACHED)
    policy = "policy: {{rego: rego, data: policy-data}}\nstore:"
    stack = Stack(config=CONFIG.replace("store:", connections + policy))
    shutil.copytree(shipped_rego(), stack.folder / "rego")
    with (stack.folder / "rego" / "obligations" / "obligations.rego").open("a") as file:
        file.write("".join(RULE.format(kind=kind, connection=name) for name, kind in ATTACHED.items()))
    (stack.folder / "policy-data").mkdir()
    (stack.folder / "policy-data" / "roles.yaml").write_text(ROLES)
    try:
        stack.start_database()
        admin(stack, TABLES)
        stack.start_twokey()
        yield stack
    finally:
        stack.stop()


def write(client: psycopg.Connection[tuple[object, ...]], marker: str, how: str) -> None:
    if how == "COPY":
        with client.cursor().copy(f"COPY many (id, v) FROM STDIN /* {marker} */") as copying:
            copying.write_row((9001, marker))
    else:
        client.execute(f"UPDATE many SET v = '{marker}' WHERE id = 1", prepare=how == "extended")


@pytest.mark.parametrize("how", ["simple", "extended", "COPY"])
@pytest.mark.parametrize("connection", ATTACHED)
def test_ob_2_and_az_7_what_the_gateway_does_not_know_is_a_denial(odd: Stack, connection: str, how: str) -> None:
    marker, before = mark(), state(odd)
    with connect(odd, "executor", connection=connection) as client:
        with pytest.raises(psycopg.errors.Error) as refused:
            write(client, marker, how)
        assert "whoever keeps the policy" in str(refused.value.diag.message_hint)
        # What carries no such obligation goes on in the same session.
        assert client.execute("SELECT id FROM many WHERE id = 1").fetchone() == (1,)
    assert state(odd) == before
    decisions = [one for one in log(odd) if one["kind"] == "decision" and marker.encode() in statement_of(one)]
    if connection == "unmet":
        # Policy allowed it: that it was not carried out is the gateway's to record.
        assert refused.value.sqlstate == "42501"
        assert decisions[-1]["outcome"] == "allow"
        assert outcome(odd, marker).items() >= {"status": "refused", "error": "OBLIGATION_UNMET"}.items()
    else:
        assert decisions[-1]["outcome"] == "deny"
