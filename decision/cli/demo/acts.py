"""The story itself: planner, executor, owner and reviewer, and what each may not do alone."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from decision.cli.demo.stack import DATABASE, Stack
from decision.cli.demo.stage import Stage, Trail, obligations_of, rules_of
from decision.cli.demo.terminal import Terminal
from decision.cli.errors import CliError

APPROVAL = r"apr_[a-z2-7]{26}"

# The same DROP, dressed up. Each travels as one simple-query message.
DISGUISES = (
    "SELECT 1; DROP TABLE orders",
    "/* SELECT */ DROP /* only */ TABLE -- reading\n orders",
    r"SELECT 'C:\'; DROP TABLE orders; --'",
    r"SELECT E'it\'s safe', $$'$$; DROP TABLE orders",
)
HIDDEN = "DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$"
CALLED = "SELECT tidy_up()"


@dataclass(slots=True)
class Story:
    stack: Stack
    stage: Stage
    trail: Trail

    def play(self) -> None:
        """Every act in turn. Raises CliError when the stage itself breaks; wrong outcomes are the stage's to count."""
        planner = self.stack.terminal("planner")
        executor = self.stack.terminal("executor")
        try:
            self._planner(planner)
            self._executor(executor)
            deleted = self._held_delete(executor)
            self._denied_delete(executor)
            self._drops(planner, executor)
            self._trail(deleted)
        finally:
            planner.close()
            executor.close()

    # -- acts -------------------------------------------------------------------------------------------------------

    def _planner(self, planner: Terminal) -> None:
        self.stage.act("The planner may read")
        orders, outcome = self._run(
            "planner", planner, "SELECT id, placed, total, status FROM orders ORDER BY id LIMIT 3"
        )
        self.stage.expect(
            "allowed, three orders came back", outcome == "allow" and "(3 rows)" in orders, instead=orders
        )

        self.stage.act("… and what is sensitive arrives masked")
        statement = "SELECT id, name, email FROM customers ORDER BY id LIMIT 3"
        shown, outcome = self._run("planner", planner, statement)
        hidden = "@example.org" not in shown and "(3 rows)" in shown
        self.stage.expect("masked, no address came through", outcome == "mask-columns" and hidden, instead=shown)
        shown, outcome = self._run("planner", planner, "SELECT customer_id, pan FROM cards ORDER BY id LIMIT 3")
        hidden = re.search(r"\d{6}", shown) is None and "(3 rows)" in shown
        self.stage.expect("masked, no card number came through", outcome == "mask-columns" and hidden, instead=shown)

        self.stage.act("… but change nothing")
        shown, outcome = self._run("planner", planner, "UPDATE orders SET status = 'paid' WHERE id = 7")
        self.stage.expect("denied, the rule is named", outcome == "deny" and "ERROR" in shown, instead=shown)
        shown, outcome = self._run("planner", planner, "SELECT count(*) FROM orders")
        self.stage.expect("the session lives on", outcome == "allow" and "20000" in shown, instead=shown)

    def _executor(self, executor: Terminal) -> None:
        self.stage.act("The executor may change a little")
        statement = "UPDATE orders SET status = 'shipped' WHERE id BETWEEN 100 AND 109"
        self.stage.command("executor", statement)
        shown = executor.run(statement + " RETURNING id;")
        record = self.trail.decision(statement + " RETURNING id")
        self.stage.output(shown)
        self.stage.decision(record)
        allowed = record.get("outcome") == "allow" and "(10 rows)" in shown
        self.stage.expect("allowed, with obligations", allowed and bool(obligations_of(record)), instead=shown)

        self.stage.act("An export is held; Ctrl-C takes the request back")
        export = self.stack.terminal("executor")
        statement = "SELECT * FROM orders LIMIT 10000"
        _, approval = self._hold("executor", export, statement)
        self.stage.command("executor", "^C")
        export.process.send_signal(signal.SIGINT)
        shown = export.wait_for(r"ERROR:[^\n]*\n(HINT:[^\n]*\n|DETAIL:[^\n]*\n)*")
        self.stage.output(shown)
        export.close()
        state = self._state(approval)
        self.stage.expect("withdrawn, nothing ran", state == "withdrawn", instead=f"{approval} is {state}")

    def _held_delete(self, executor: Terminal) -> str:
        """Returns the operation id of the DELETE that ran."""
        self.stage.act("A DELETE in production waits for a person")
        statement = "DELETE FROM orders WHERE id = 42"
        operation, approval = self._hold("executor", executor, statement)
        self.stage.command("bob (dba)", f"twokey approvals show {approval}")
        page = self.stack.twokey("approvals", "show", approval, token=self.stack.token("bob", "reviewer"))
        self.stage.output(page.stdout + page.stderr, most=40)
        self.stage.expect("the reviewer sees the exact statement", statement in page.stdout)

        self.stage.act("Whoever asks may not approve: neither the agent nor the human who owns it")
        for name in ("executor-7", "alice"):
            self.stage.command(name, f"twokey approvals approve {approval}")
            answer = self.stack.review("approve", approval, subject=name)
            self.stage.output(answer.stdout + answer.stderr)
            self.stage.expect(
                f"{name} is refused by a duty rule", answer.returncode == 1 and "DUTY-REVIEW-SELF" in answer.stderr
            )
        self.stage.expect("it still waits", self._state(approval) == "pending")

        self.stage.act("Another person approves: the same psql session goes on")
        self.stage.command("bob (dba)", f"twokey approvals approve {approval} --reason 'ticket 4711'")
        answer = self.stack.review("approve", approval, reason="ticket 4711")
        self.stage.output(answer.stdout + answer.stderr)
        shown = executor.finish()
        self.stage.command("executor", "(the psql that waited)")
        self.stage.output(shown)
        self.stage.expect("approved, and it ran", "DELETE 1" in shown, instead=shown)
        left = self.stack.database.run("SELECT count(*) FROM orders", database=DATABASE)
        self.stage.expect("one order is gone", left == "19999", instead=left)
        redeemed = self.trail.decision(statement)
        self.stage.decision(redeemed)
        return str(redeemed.get("operation") or operation)

    def _denied_delete(self, executor: Terminal) -> None:
        self.stage.act("One approval, one execution: the same DELETE is held again, and now denied")
        executor.run("BEGIN;")
        statement = "DELETE FROM orders WHERE id = 42"
        _, approval = self._hold("executor", executor, statement)
        self.stage.command("bob (dba)", f"twokey approvals deny {approval} --reason 'once is enough'")
        self.stack.review("deny", approval, reason="once is enough")
        shown = executor.finish()
        self.stage.output(shown)
        told = "ERROR" in shown and "once is enough" in shown
        self.stage.expect("a clear error with the reviewer's words", told, instead=shown)
        self.stage.command("executor", "SELECT 1")
        shown = executor.run("SELECT 1;")
        self.stage.output(shown)
        self.stage.expect("the transaction is aborted, as PostgreSQL would have it", "aborted" in shown, instead=shown)
        executor.run("ROLLBACK;")
        shown = executor.run("SELECT 'alive';")
        self.stage.expect("after ROLLBACK the session is fine", "alive" in shown, instead=shown)

    def _drops(self, planner: Terminal, executor: Terminal) -> None:
        self.stage.act("DROP TABLE in production is denied, however it is dressed")
        shown, outcome = self._run("executor", executor, "DROP TABLE orders")
        self.stage.expect("denied by rule", outcome == "deny" and "ERROR" in shown, instead=shown)
        for disguise in DISGUISES:
            self.stage.command("executor", disguise.replace("\n", " "))
            done = self.stack.psql("executor", disguise)
            self.stage.output(done.stdout + done.stderr)
            record = self.trail.denial("DROP")
            self.stage.decision(record)
            self.stage.expect("denied by rule", done.returncode != 0 and bool(rules_of(record)), instead=done.stderr)

        self.stage.act("… and where nobody can see inside, policy decides what that is worth")
        shown, outcome = self._run("planner", planner, HIDDEN)
        self.stage.expect("the planner is denied", outcome == "deny" and "ERROR" in shown, instead=shown)
        for statement in (HIDDEN, CALLED):
            _, approval = self._hold("executor", executor, statement)
            self.stage.command("bob (dba)", f"twokey approvals show {approval}")
            told = self.stack.twokey("approvals", "show", approval, token=self.stack.token("bob", "reviewer")).stdout
            self.stage.output(told[told.find("WHAT YOU") :] if "WHAT YOU" in told else told)
            self.stage.expect("the reviewer is told that nobody can see inside", "not described" in told, instead=told)
            self.stack.review("deny", approval, reason="write it out")
            shown = executor.finish()
            self.stage.expect("denied by the reviewer", "ERROR" in shown, instead=shown)
        left = self.stack.database.run("SELECT count(*) FROM orders", database=DATABASE)
        self.stage.expect("the orders are all still there", left == "19999", instead=left)

    def _trail(self, operation: str) -> None:
        self.stage.act("The trail: who asked, for whom, what exactly ran, who approved")
        self.stage.command("erin (auditor)", f"twokey audit show {operation}")
        shown = self.stack.twokey("audit", "show", operation, token=self.stack.token("erin", "auditor"))
        self.stage.output(shown.stdout, most=60)
        wanted = ("executor-7", "alice", "executor", "DELETE FROM orders WHERE id = 42", "bob", "completed")
        missing = [word for word in wanted if word not in shown.stdout]
        self.stage.expect("the log tells the whole story", not missing, instead=f"missing: {missing}\n{shown.stderr}")

    # -- pieces -----------------------------------------------------------------------------------------------------

    def _run(self, who: str, terminal: Terminal, statement: str) -> tuple[str, str]:
        """Run one statement; what psql printed, and the outcome in the log."""
        self.stage.command(who, statement)
        shown = terminal.run(statement + ";")
        self.stage.output(shown)
        record = self.trail.decision(statement)
        self.stage.decision(record)
        return shown, str(record.get("outcome"))

    def _hold(self, who: str, terminal: Terminal, statement: str) -> tuple[str, str]:
        """Start one that must be held; its operation id and the approval it waits for."""
        self.stage.command(who, statement)
        terminal.start(statement + ";")
        shown = terminal.wait_for(r"HINT:[^\n]*\n")
        self.stage.output(shown)
        record = self.trail.decision(statement)
        self.stage.decision(record)
        found = re.search(APPROVAL, shown)
        self.stage.expect(
            "held, psql says what it waits for", record.get("outcome") == "require-approval", instead=shown
        )
        if found is None:
            raise CliError("psql did not name the approval")
        return str(record.get("operation")), found[0]

    def _state(self, approval: str) -> str:
        shown = self.stack.twokey("approvals", "show", approval, token=self.stack.token("bob", "reviewer")).stdout
        found = re.search(rf"{approval}\s+([a-z-]+)", shown)
        return found[1] if found is not None else "unknown"
