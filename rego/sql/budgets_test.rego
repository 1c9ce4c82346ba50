package twokey.sql_test

import data.twokey.testing as t

# SQL-WRITE-BUDGET, SQL-ESTIMATE
test_sql_write_budget_allows if {
	decision := t.decide(with_values(executor_updates, "known", 500))
	decision.outcome == "allow"
	decision.durability == "before"
	decision.lease == null
	t.decide(with_approval(with_values(executor_updates, "known", 501), t.approved)).outcome == "allow"
	t.decide(in_environment(executor_updates, "development")).outcome == "allow"
}

test_sql_write_budget_denies if {
	t.held_by(t.decide(with_values(executor_updates, "known", 501)), "SQL-WRITE-BUDGET")
	t.held_by(t.decide(with_values(executor_updates, "unknown", 0)), "SQL-WRITE-BUDGET")
	copy := {"command": "COPY", "verbs": ["sql.insert", "sql.copy-from"], "relations": [t.relation("orders", ["insert"])]}
	t.held_by(t.decide(with_values(t.operation(t.executor, copy), "unknown", 0)), "SQL-WRITE-BUDGET")
}

test_sql_estimate_allows if {
	t.decide(with_values(executor_updates, "known", 1)).needs == []
	t.decide(planner_reads).needs == []
}

test_sql_estimate_denies if {
	decision := t.decide(executor_updates)
	t.denied_by(decision, "MAIN-NEEDS")
	decision.needs == ["estimate", "values"]
	t.decide(with_values(executor_updates, "absent", 0)).needs == ["estimate"]
	t.decide(executor_reads).needs == ["estimate", "values"]
	t.decide(t.operation(t.planner, t.update_orders)).needs == []
}

# SQL-EXPORT-BUDGET, SQL-MAX-ROWS
copy_orders := object.union(t.select_orders, {
	"command": "COPY",
	"verbs": ["sql.select", "sql.copy-to"],
	"returns_rows": false,
	"output": [],
})

test_sql_export_budget_allows if {
	decision := t.decide(with_values(executor_reads, "known", 1000))
	decision.outcome == "allow"
	t.obligation(decision, "max-rows") == {"rows": 1000}
	decision.lease == null
	approved := t.decide(with_approval(with_values(executor_reads, "known", 10000), t.approved))
	approved.outcome == "allow"
	not t.obligation(approved, "max-rows")
}

test_sql_export_budget_denies if {
	t.held_by(t.decide(with_values(executor_reads, "known", 10000)), "SQL-EXPORT-BUDGET")
	t.held_by(t.decide(with_values(executor_reads, "unknown", 0)), "SQL-EXPORT-BUDGET")
}

test_sql_max_rows_denies_copies_beyond_the_budget if {
	every question in [t.operation(t.planner, copy_orders), t.operation(t.executor, copy_orders)] {
		decision := t.decide(question)
		decision.outcome == "allow"
		t.obligation(decision, "max-rows") == {"rows": 1000}
	}
	not t.obligation(t.decide(in_environment(t.operation(t.executor, copy_orders), "development")), "max-rows")
}

test_sql_export_budget_allows_small_relations_on_the_shape if {
	policy := {"budgets": {"small": {"crm": ["public.orders"]}}}
	decision := t.decide_with(executor_reads, policy)
	decision.outcome == "allow"
	decision.lease == {"ttl_ms": 30000}
	t.obligation(decision, "max-rows") == {"rows": 1000}
	t.decide_with(executor_reads, {"budgets": {"small": {"other": ["public.orders"]}}}).outcome == "deny"
}

test_sql_export_budget_cuts_off_temporary_relations if {
	own := object.union(t.relation("t", ["read"]), {"schema": "pg_temp_3", "temporary": true})
	decision := t.decide(sql(executor_reads, {"relations": [own]}))
	decision.outcome == "allow"
	t.obligation(decision, "max-rows") == {"rows": 1000}
	with_other := [own, t.relation("orders", ["read"])]
	t.held_by(t.decide(with_values(sql(executor_reads, {"relations": with_other}), "known", 10000)), "SQL-EXPORT-BUDGET")
}

test_sql_export_budget_allows_what_reads_no_data if {
	decision := t.decide(sql(executor_reads, {"relations": [], "columns": [], "output": []}))
	decision.outcome == "allow"
	decision.needs == []
}

test_sql_max_rows_allows if {
	t.obligation(t.decide(planner_reads), "max-rows") == {"rows": 1000}
	t.obligation(t.decide(in_environment(planner_reads, "development")), "max-rows") == {"rows": 10000}
}

test_sql_max_rows_denies if {
	not t.obligation(t.decide(in_environment(executor_reads, "development")), "max-rows")
	not t.obligation(t.decide(with_values(in_environment(executor_updates, "development"), "known", 1)), "max-rows")
}

# SQL-MAX-WRITTEN
test_sql_max_written_allows if {
	not t.obligation(t.decide(in_environment(executor_updates, "development")), "max-rows")

	# Approved as a write above the budget: the reviewer saw how many.
	approved := t.decide(with_approval(with_values(executor_updates, "known", 501), t.approved))
	approved.outcome == "allow"
	not t.obligation(approved, "max-rows")

	# Held by its shape, not by an estimate.
	deleted := t.decide(with_approval(with_values(t.operation(t.executor, t.delete_orders), "known", 1), t.approved))
	deleted.outcome == "allow"
	not t.obligation(deleted, "max-rows")
}

test_sql_max_written_denies if {
	t.obligation(t.decide(with_values(executor_updates, "known", 1)), "max-rows") == {"rows": 500}
	t.obligation(t.decide(with_values(executor_updates, "known", 500)), "max-rows") == {"rows": 500}
}
