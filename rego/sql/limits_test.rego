package twokey.sql_test

import data.twokey.testing as t

# SQL-READ-ONLY, SQL-STATEMENT-TIMEOUT
test_sql_read_only_allows if {
	not t.obligation(t.decide(with_values(executor_updates, "known", 1)), "read-only")
	not t.obligation(t.decide(t.session(t.executor)), "read-only")
}

test_sql_read_only_denies if {
	t.obligation(t.decide(planner_reads), "read-only") == {}
	t.obligation(t.decide(t.session(t.planner)), "read-only") == {}
}

test_sql_statement_timeout_allows if t.decide(t.operation(t.planner, t.begin)).obligations == []

test_sql_statement_timeout_denies if {
	t.obligation(t.decide(planner_reads), "statement-timeout") == {"ms": 30000}
	t.obligation(t.decide(t.session(t.executor)), "statement-timeout") == {"ms": 120000}
}

# SQL-LEASE
test_sql_lease_allows if {
	decision := t.decide(planner_reads)
	decision.lease == {"ttl_ms": 30000}
	decision.durability == "windowed"
	decision.window == {"records": 256, "delay_ms": 50}
	t.decide(in_environment(executor_reads, "staging")).lease == {"ttl_ms": 30000}
	t.decide(calling(t.planner, {"volatility": "stable"})).lease == {"ttl_ms": 30000}
}

test_sql_lease_denies if {
	every question in [
		with_values(planner_reads, "absent", 0),
		with_values(in_environment(executor_reads, "staging"), "known", 1),
		in_environment(executor_updates, "staging"),
		sql(planner_reads, {"transaction": {"written": true}}),
		in_environment(calling(t.executor, {}), "staging"),
		t.operation(t.executor, t.set_to("search_path", "app")),
		with_approval(in_environment(executor_reads, "staging"), t.approved),
	] {
		decision := t.decide(question)
		decision.outcome == "allow"
		decision.lease == null
		decision.window == null
		decision.durability == "before"
	}
}

test_a_write_that_returns_rows_is_bounded_by_its_write_budget_only if {
	returning := {
		"verbs": ["sql.update", "sql.select"],
		"returns_rows": true,
		"output": [t.output("orders", "id")],
	}
	question := with_values(t.operation(t.executor, object.union(t.update_orders, returning)), "known", 400)
	decision := t.decide(question)
	decision.outcome == "allow"
	{one.parameters.rows | some one in decision.obligations; one.type == "max-rows"} == {500}
}
