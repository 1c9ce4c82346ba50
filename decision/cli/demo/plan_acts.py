"""The story of a plan: two agents of different owners and a person who owns neither migrate a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from decision.cli.demo.stack import DATABASE, Stack
from decision.cli.demo.stage import Stage
from decision.cli.demo.terminal import Terminal
from decision.cli.errors import CliError

PLAN = """\
connection: company
executor: executor-7
intent: Old orders go to an archive of their own, ticket 4711.
expires: 4h
steps:
  - sql: CREATE TABLE old_orders (id integer PRIMARY KEY, status text)
  - sql: INSERT INTO old_orders SELECT id, status FROM orders WHERE id <= 500
    rows: 500
  - sql: DELETE FROM orders WHERE id <= 500
    rows: {least: 500, most: 500}
"""
MAKE = "CREATE TABLE old_orders (id integer PRIMARY KEY, status text)"
FILL = "INSERT INTO old_orders SELECT id, status FROM orders WHERE id <= 500"
CLEAR = "DELETE FROM orders WHERE id <= 500"


@dataclass(slots=True)
class PlanStory:
    stack: Stack
    stage: Stage

    def play(self) -> None:
        """Every act in turn. Raises CliError when the stage itself breaks."""
        path = Path(self.stack.folder) / "migrate.yaml"
        path.write_text(PLAN)
        plan, approval = self._proposed(path)
        self._reviewed(plan, approval)
        execution = self._started(plan)
        executor = Terminal(
            self.stack.database.psql,
            {**self.stack.environment("executor"), "PGOPTIONS": f"-c twokey.plan={plan}"},
            (),
        )
        try:
            self._carried_out(executor)
        finally:
            executor.close()
        self._over(plan, execution)

    def _proposed(self, path: Path) -> tuple[str, str]:
        self.stage.act("A planner proposes: nothing has happened, everything is described")
        self.stage.command("planner-3 (carol's)", "cat migrate.yaml")
        self.stage.output(PLAN)
        shown = self._plan("planner-3", "planner", "preview", str(path), shown="preview migrate.yaml")
        self.stage.output(shown.stdout, most=60)
        self.stage.expect("each step says what it would do", "step 2 of 3, by what step 1 makes" in shown.stdout)
        done = self._plan("planner-3", "planner", "propose", str(path), "--json", shown="propose migrate.yaml")
        if done.returncode:
            raise CliError(f"the plan was not taken: {done.stderr}")
        found = json.loads(done.stdout)
        plan, approval = str(found["id"]), str(found["approval"])
        self.stage.output(f"{plan} {found['state']}\nit waits for {approval}")
        early = self._plan("executor-7", "executor", "start", plan)
        self.stage.output(early.stderr)
        self.stage.expect("nobody can begin yet", early.returncode != 0 and "pending" in early.stderr)
        return plan, approval

    def _reviewed(self, plan: str, approval: str) -> None:
        self.stage.act("One review of the whole, by a person who owns neither agent")
        self.stage.command("bob (dba)", f"twokey approvals show {approval}")
        page = self.stack.twokey("approvals", "show", approval, token=self.stack.token("bob", "reviewer"))
        self.stage.output(page.stdout, most=70)
        self.stage.expect(
            "every step is there as it will run", all(text in page.stdout for text in (MAKE, FILL, CLEAR))
        )
        for name in ("carol", "alice"):
            self.stage.command(f"{name} (owns one of the agents)", f"twokey approvals approve {approval}")
            answer = self.stack.review("approve", approval, subject=name)
            self.stage.output(answer.stderr)
            self.stage.expect(f"{name} is refused", "DUTY-REVIEW-SELF" in answer.stderr, instead=answer.stderr)
        self.stage.command("bob (dba)", f"twokey approvals approve {approval} --reason 'ticket 4711'")
        answer = self.stack.review("approve", approval, reason="ticket 4711")
        self.stage.output(answer.stdout + answer.stderr)
        self.stage.expect(f"{plan} is approved, all of it and nothing else", "approved" in answer.stdout)

    def _started(self, plan: str) -> str:
        self.stage.act("Who planned it doesn't carry it out")
        own = self._plan("planner-3", "planner", "start", plan)
        self.stage.output(own.stderr)
        self.stage.expect("the planner can't start it", own.returncode != 0)
        done = self._plan("executor-7", "executor", "start", plan, "--json", shown=f"start {plan}")
        if done.returncode:
            raise CliError(f"the plan was not started: {done.stderr}")
        execution = str(json.loads(done.stdout)["id"])
        self.stage.output(f"{execution} running")
        return execution

    def _carried_out(self, executor: Terminal) -> None:
        self.stage.act("The executor does the next step, and can't do anything else")
        shown = self._run(executor, CLEAR)
        self.stage.expect(
            "not before the archive is filled", "step 1 of 3 expects CREATE TABLE" in shown, instead=shown
        )
        shown = self._run(executor, MAKE)
        self.stage.expect("the table is made", "CREATE TABLE" in shown, instead=shown)
        shown = self._run(executor, FILL.replace("500", "5"))
        self.stage.expect("another number is another statement", "PLAN-STEP" in shown, instead=shown)
        shown = self._run(executor, FILL)
        self.stage.expect("five hundred orders are copied", "INSERT 0 500" in shown, instead=shown)
        shown = self._run(executor, CLEAR)
        self.stage.expect("and gone, without another approval", "DELETE 500" in shown, instead=shown)
        shown = self._run(executor, CLEAR)
        self.stage.expect("once", "is completed" in shown, instead=shown)

    def _over(self, plan: str, execution: str) -> None:
        self.stage.act("What everybody can see afterwards")
        shown = self._plan("executor-7", "executor", "show", plan).stdout
        told = shown[shown.find("execution") :]
        self.stage.output(told)
        self.stage.expect("completed", f"{execution}  completed" in told, instead=shown)
        records = [one for one in self.stack.records() if one.get("execution") == execution]
        approvals = {str(one.get("approval")) for one in records if one.get("kind") == "decision"}
        self.stage.expect("each step's decision names the one approval", len(approvals) == 1, instead=str(approvals))
        left = self.stack.database.run(
            "SELECT (SELECT count(*) FROM orders WHERE id <= 500), (SELECT count(*) FROM old_orders)", database=DATABASE
        )
        self.stage.expect("the target has what was approved", left == "0|500", instead=left)

    def _plan(self, who: str, role: str, *words: str, shown: str = "") -> CompletedProcess[str]:
        self.stage.command(who, f"twokey plan {shown or ' '.join(words)}")
        return self.stack.twokey("plan", *words, token=self.stack.token(who, role))

    def _run(self, executor: Terminal, statement: str) -> str:
        self.stage.command("executor", statement)
        shown = executor.run(statement + ";")
        self.stage.output(shown)
        return shown
