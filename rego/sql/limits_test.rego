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
		with_values(in_environment(executor_updates, "staging"), "known", 1),
		sql(in_environment(executor_updates, "staging"), {"functions": [t.function("pg_catalog", "f")]}),
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

# SQL-LEASE-WRITE
one_row := sql(executor_updates, {"most_rows": 1})

test_sql_lease_write_allows if {
	every question in [
		one_row,
		sql(executor_updates, {"most_rows": 500}),
		in_environment(executor_updates, "staging"),
		sql(one_row, {"transaction": {"written": true}}),
	] {
		decision := t.decide(question)
		decision.outcome == "allow"
		decision.lease == {"ttl_ms": 30000}
		decision.window == null
		decision.durability == "before"
	}
	every question in [planner_reads, t.operation(t.executor, t.begin)] {
		after_a_write := t.decide(sql(question, {"transaction": {"written": true}}))
		after_a_write.durability == "windowed"
		after_a_write.window != null
	}
}

test_sql_lease_write_denies if {
	t.decide(executor_updates).needs == ["estimate", "values"]
	t.decide(sql(executor_updates, {"most_rows": 501})).outcome == "require-approval"
	t.decide(sql(executor_updates, {"most_rows": 501})).lease == null
	t.decide(sql(t.operation(t.executor, t.delete_orders), {"most_rows": 1})).lease == null
	t.decide(with_values(one_row, "absent", 0)).lease == null
	t.decide(sql(one_row, {"functions": [t.function("pg_catalog", "f")]})).lease == null
	t.decide(sql(one_row, {"settings": [t.setting("search_path", "set", "app")]})).lease == null
	t.decide(sql(one_row, {"opaque": true})).lease == null
	t.decide(t.operation(t.planner, object.union(t.update_orders, {"most_rows": 1}))).outcome == "deny"
}

# What the shape tells needs no estimate, and no row limit to hold it to that.
test_rows_known_by_shape if {
	t.decide(one_row).needs == []
	not t.obligation(t.decide(one_row), "max-rows")
	held := t.decide(with_values(sql(executor_updates, {"most_rows": 501}), "known", 3))
	held.outcome == "require-approval"
	some reason in held.reasons
	contains(reason.reason, "up to 501 rows")
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
