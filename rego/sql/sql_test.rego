package twokey.sql_test

import data.twokey.testing as t

in_environment(question, name) := object.union(question, {"resource": {"environment": name}})

with_values(question, state, rows) := object.union(question, {"values": t.values(state, rows)})

with_approval(question, approval) := object.union(question, {"context": {"approval": approval}})

sql(question, patch) := object.union(question, {"operation": {"sql": patch}})

planner_reads := t.operation(t.planner, t.select_orders)

executor_reads := t.operation(t.executor, t.select_orders)

executor_updates := t.operation(t.executor, t.update_orders)

executor_deletes := t.operation(t.executor, t.delete_orders)

# SQL-GRANT
test_sql_grant_allows if {
	decision := t.decide(planner_reads)
	decision.outcome == "allow"
	t.rules(decision) == {"SQL-GRANT"}
}

test_sql_grant_denies if {
	decision := t.decide(object.union(planner_reads, {"action": {"verbs": ["sql.select", "sql.frobnicate"]}}))
	decision.outcome == "deny"
}

test_sql_grant_denies_without_a_verb if {
	question := object.union(t.operation(t.planner, t.select_orders), {
		"action": {"verbs": []},
		"operation": {"sql": {"verbs": []}},
	})
	t.denied_by(t.decide(question), "MAIN-NO-RULE")
}

test_sql_grant_denies_another_kind_of_target if {
	t.decide(object.union(planner_reads, {"resource": {"kind": "kubernetes"}})).outcome == "deny"
}

test_sql_grant_reads_the_verbs_of_the_description_too if {
	t.denied_by(t.decide(object.union(planner_reads, {"operation": {"sql": {"verbs": ["sql.update"]}}})), "SQL-VERB")
}

# SQL-HARMLESS
test_sql_harmless_allows if {
	decision := t.decide(t.operation(t.stranger, t.begin))
	decision.outcome == "allow"
	"SQL-HARMLESS" in t.rules(decision)
	decision.lease == {"ttl_ms": 30000}
	decision.durability == "windowed"
}

test_sql_harmless_denies if {
	t.decide(t.operation(t.stranger, t.set_to("search_path", "evil"))).outcome == "deny"
	t.decide(t.operation(t.stranger, t.select_orders)).outcome == "deny"
	t.decide(t.operation(t.stranger, object.union(t.begin, {"opaque": true}))).outcome == "deny"
	t.decide(t.operation(t.stranger, object.union(t.begin, {"relations": [t.relation("x", ["read"])]}))).outcome == "deny"
}

test_sql_harmless_allows_every_known_role if {
	every subject in [t.planner, t.executor] {
		every statement in [
			t.begin,
			t.set_to("application_name", ""),
			t.set_to("transaction_read_only", "on"),
			{"command": "SHOW", "verbs": ["sql.show"], "settings": [t.setting("statement_timeout", "show", "")]},
			{"command": "DISCARD ALL", "verbs": ["sql.discard"], "settings": [t.setting("*", "reset", "")]},
			{"command": "", "verbs": ["sql.empty"]},
		] {
			t.decide(t.operation(subject, statement)).outcome == "allow"
		}
	}
}

# SQL-VERB
test_sql_verb_allows if t.decide(t.operation(t.executor, {
	"command": "LISTEN",
	"verbs": ["sql.listen"],
})).outcome == "allow"

test_sql_verb_denies if {
	every verb in ["sql.system", "sql.role", "sql.two-phase", "sql.copy-server", "sql.large-object", "sql.new"] {
		t.denied_by(t.decide(t.operation(t.executor, {"command": "X", "verbs": [verb]})), "SQL-VERB")
	}
	t.denied_by(t.decide(t.operation(t.planner, {"command": "LOCK TABLE", "verbs": ["sql.lock"]})), "SQL-VERB")
}

# SQL-PLANNER-WRITE
test_sql_planner_write_allows if {
	not "SQL-PLANNER-WRITE" in t.rules(t.decide(with_values(executor_updates, "known", 1)))
	t.decide(planner_reads).outcome == "allow"
}

test_sql_planner_write_denies if {
	decision := t.decide(t.operation(t.planner, t.update_orders))
	t.denied_by(decision, "SQL-PLANNER-WRITE")
	some reason in decision.reasons
	reason.rule == "SQL-PLANNER-WRITE"
	reason.reason == "a planner may not write: UPDATE on public.orders"
	reason.next == "hand this statement to an executor, or put it into a plan"
}

test_sql_planner_write_denies_whatever_the_grants_say if {
	policy := {"roles": {"planner": {"grants": {"*": ["read", "write"]}}}}
	t.denied_by(t.decide_with(t.operation(t.planner, t.update_orders), policy), "SQL-PLANNER-WRITE")
}

test_sql_planner_write_denies_writes_behind_a_read if {
	every patch in [
		{"relations": [object.union(t.relation("audit", ["insert"]), {"via": "trigger"})]},
		{"columns": [t.column("orders", "status", "write")]},
	] {
		t.denied_by(t.decide(sql(planner_reads, patch)), "SQL-PLANNER-WRITE")
	}
}

# SQL-SETTING
test_sql_setting_allows if {
	t.decide(t.operation(t.executor, t.set_to("search_path", "app"))).outcome == "allow"
	t.decide(t.operation(t.executor, t.set_to("default_transaction_read_only", "off"))).outcome == "allow"
	t.decide(t.operation(t.planner, t.set_to("datestyle", ""))).outcome == "allow"
}

test_sql_setting_denies if {
	every name in [
		"role", "session_authorization", "row_security", "session_replication_role", "statement_timeout",
		"client_encoding", "standard_conforming_strings", "twokey.plan", "debug_print_plan", "no_such_setting",
	] {
		t.denied_by(t.decide(t.operation(t.executor, t.set_to(name, "on"))), "SQL-SETTING")
		t.denied_by(t.decide(t.operation(t.planner, t.set_to(name, "on"))), "SQL-SETTING")
	}
	every name in ["search_path", "transaction_read_only", "default_transaction_read_only"] {
		t.denied_by(t.decide(t.operation(t.planner, t.set_to(name, "off"))), "SQL-SETTING")
	}
}

test_sql_setting_denies_a_setting_hidden_in_a_select if {
	question := sql(planner_reads, {"settings": [t.setting("role", "set", "postgres")]})
	t.denied_by(t.decide(question), "SQL-SETTING")
}

test_sql_setting_denies_resetting_protection_to_a_tight_value if {
	question := t.operation(t.planner, {
		"command": "RESET",
		"verbs": ["sql.reset"],
		"settings": [t.setting("transaction_read_only", "reset", "on")],
	})
	t.denied_by(t.decide(question), "SQL-SETTING")
}

# SQL-FUNCTION
calling(subject, patch) := sql(
	t.operation(subject, t.select_orders),
	{"functions": [object.union(t.function("pg_catalog", "f"), patch)]},
)

test_sql_function_allows if {
	t.decide(calling(t.planner, {"safe": true})).outcome == "allow"
	t.decide(calling(t.planner, {"volatility": "stable"})).outcome == "allow"
	t.decide(calling(t.planner, {"name": "pg_advisory_unlock_all"})).outcome == "allow"
	not "SQL-FUNCTION" in t.rules(t.decide(calling(t.executor, {})))
}

test_sql_function_denies if {
	every patch in [
		{},
		{"schema": "public", "volatility": "immutable"},
		{"volatility": "stable", "name": "table_to_xml"},
		{"volatility": "stable", "security_definer": true},
		{"volatility": ""},
	] {
		t.denied_by(t.decide(calling(t.planner, patch)), "SQL-FUNCTION")
	}
}

# SQL-CATALOG
reading(subject, schema, name) := sql(t.operation(subject, t.select_orders), {
	"columns": [],
	"output": [],
	"relations": [object.union(t.relation(name, ["read"]), {"schema": schema, "catalog": schema == "pg_catalog"})],
})

test_sql_catalog_allows if {
	decision := t.decide(reading(t.planner, "pg_catalog", "pg_class"))
	decision.outcome == "allow"
	not t.obligation(decision, "max-rows")
	t.decide(reading(t.executor, "pg_catalog", "pg_stats")).outcome == "allow"
}

test_sql_catalog_denies if {
	t.denied_by(t.decide(reading(t.planner, "pg_catalog", "pg_stats")), "SQL-CATALOG")
	t.denied_by(t.decide(reading(t.planner, "monitoring", "pg_stat_statements")), "SQL-CATALOG")
}

# SQL-DROP-TRUNCATE
truncate_orders := {
	"command": "TRUNCATE",
	"verbs": ["sql.truncate"],
	"relations": [t.relation("orders", ["truncate"])],
}

test_sql_drop_truncate_allows if {
	t.decide(in_environment(t.operation(t.executor, t.drop_orders), "development")).outcome == "allow"
	t.decide(t.operation(t.executor, {"command": "DROP TABLE", "verbs": ["sql.temporary"]})).outcome == "allow"
}

test_sql_drop_truncate_denies if {
	every statement in [t.drop_orders, truncate_orders] {
		t.denied_by(t.decide(t.operation(t.executor, statement)), "SQL-DROP-TRUNCATE")
		approved := with_approval(t.operation(t.executor, statement), t.approved)
		t.denied_by(t.decide(approved), "SQL-DROP-TRUNCATE")
	}
}

test_sql_drop_truncate_denies_in_an_environment_nobody_named if {
	t.denied_by(t.decide(in_environment(t.operation(t.executor, t.drop_orders), "prod")), "SQL-DROP-TRUNCATE")
	t.denied_by(t.decide(in_environment(t.operation(t.executor, t.drop_orders), "")), "SQL-DROP-TRUNCATE")
}

# SQL-OPAQUE-DENIED, SQL-OPAQUE
opaque_select := object.union(t.select_orders, {
	"opaque": true,
	"opaque_reasons": [{"code": "procedural-function", "detail": "public.purge()"}],
})

test_sql_opaque_denied_allows if {
	not "SQL-OPAQUE-DENIED" in t.rules(t.decide(t.operation(t.executor, t.do_block)))
	t.decide(planner_reads).outcome == "allow"
}

test_sql_opaque_denied_denies if {
	decision := t.decide(t.operation(t.planner, opaque_select))
	t.denied_by(decision, "SQL-OPAQUE-DENIED")
	some reason in decision.reasons
	contains(reason.reason, "procedural-function: public.purge()")
}

test_sql_opaque_allows if {
	decision := t.decide(with_approval(t.operation(t.executor, t.do_block), t.approved))
	decision.outcome == "allow"
	decision.durability == "before"
	decision.lease == null
	"SQL-OPAQUE" in t.rules(decision)
}

test_sql_opaque_denies if {
	every statement in [t.do_block, opaque_select] {
		decision := t.decide(t.operation(t.executor, statement))
		t.held_by(decision, "SQL-OPAQUE")
		decision.needs == []
		decision.obligations == []
		some reason in decision.reasons
		contains(reason.reason, "the reviewer can't see what it does")
	}
}

test_sql_opaque_denies_without_a_reason_given if {
	decision := t.decide(t.operation(t.executor, object.union(t.do_block, {"opaque_reasons": []})))
	t.held_by(decision, "SQL-OPAQUE")
}

# SQL-DDL
create_table := {"command": "CREATE TABLE", "verbs": ["sql.create"], "relations": [t.relation("t", ["ddl"])]}

test_sql_ddl_allows if {
	t.decide(in_environment(t.operation(t.executor, create_table), "development")).outcome == "allow"
	t.decide(with_approval(t.operation(t.executor, create_table), t.approved)).outcome == "allow"
	t.decide(t.operation(t.executor, object.union(create_table, {"verbs": ["sql.temporary"]}))).outcome == "allow"
}

test_sql_ddl_denies if {
	every verb in ["sql.create", "sql.alter", "sql.comment", "sql.refresh", "sql.grant", "sql.reindex", "sql.cluster"] {
		decision := t.decide(t.operation(t.executor, object.union(create_table, {"verbs": [verb]})))
		t.held_by(decision, "SQL-DDL")
		decision.approval == {"groups": ["dba"], "quorum": 1, "expires_s": 3600}
	}
}

# SQL-DELETE
test_sql_delete_allows if {
	decision := t.decide(with_approval(executor_deletes, t.approved))
	decision.outcome == "allow"
	t.obligation(decision, "statement-timeout") == {"ms": 120000}
	temporary := {"relations": [object.union(t.relation("t", ["delete"]), {"temporary": true})]}
	t.decide(with_values(sql(executor_deletes, temporary), "known", 1)).outcome == "allow"
}

test_sql_delete_denies if {
	decision := t.decide(executor_deletes)
	t.held_by(decision, "SQL-DELETE")
	decision.needs == []
	t.held_by(t.decide(with_values(executor_deletes, "known", 1)), "SQL-DELETE")
	mixed := {"relations": [
		object.union(t.relation("t", ["delete"]), {"temporary": true}),
		t.relation("orders", ["delete"]),
	]}
	t.held_by(t.decide(sql(executor_deletes, mixed)), "SQL-DELETE")
	t.held_by(t.decide(sql(executor_deletes, {"relations": []})), "SQL-DELETE")
}

# SQL-NO-WHERE
test_sql_no_where_allows if {
	t.decide(with_values(executor_updates, "known", 3)).outcome == "allow"
	whole := sql(executor_updates, {"has_where": false})
	t.decide(in_environment(whole, "development")).outcome == "allow"
	t.decide(with_approval(whole, t.approved)).outcome == "allow"
	t.decide(with_values(
		t.operation(t.executor, {
			"command": "INSERT",
			"verbs": ["sql.insert"],
			"relations": [t.relation("orders", ["insert"])],
		}),
		"known", 1,
	)).outcome == "allow"
}

test_sql_no_where_denies if {
	t.held_by(t.decide(sql(executor_updates, {"has_where": false})), "SQL-NO-WHERE")
	t.held_by(t.decide(with_values(sql(executor_updates, {"has_where": false}), "known", 0)), "SQL-NO-WHERE")
}

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
copy_orders := object.union(t.select_orders, {"command": "COPY", "verbs": ["sql.select", "sql.copy-to"]})

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
	t.held_by(t.decide(with_values(t.operation(t.executor, copy_orders), "known", 1001)), "SQL-EXPORT-BUDGET")
}

test_sql_export_budget_allows_small_relations_on_the_shape if {
	policy := {"budgets": {"small": {"crm": ["public.orders"]}}}
	decision := t.decide_with(executor_reads, policy)
	decision.outcome == "allow"
	decision.lease == {"ttl_ms": 30000}
	t.obligation(decision, "max-rows") == {"rows": 1000}
	t.decide_with(executor_reads, {"budgets": {"small": {"other": ["public.orders"]}}}).outcome == "deny"
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
	not t.obligation(t.decide(with_values(executor_updates, "known", 1)), "max-rows")
}

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

# Messages
test_many_relations_are_counted_not_listed if {
	names := ["a", "b", "c", "d", "e", "f", "g"]
	relations := [t.relation(name, ["update"]) | some name in names]
	decision := t.decide(sql(t.operation(t.planner, t.update_orders), {"relations": relations}))
	some reason in decision.reasons
	reason.reason == "a planner may not write: UPDATE on public.a, public.b, public.c, public.d, public.e and 2 more"
}
