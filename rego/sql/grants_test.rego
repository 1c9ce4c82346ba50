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
	t.decide(t.operation(t.executor, t.set_to("transaction_snapshot", ""))).outcome == "allow"
	t.decide(t.operation(t.planner, t.set_to("datestyle", ""))).outcome == "allow"

	# What every session has already.
	every name, value in {"client_encoding": "UTF8", "standard_conforming_strings": "on", "backslash_quote": "safe_encoding"} {
		t.decide(t.operation(t.planner, t.set_to(name, value))).outcome == "allow"
		t.decide(t.operation(t.executor, t.set_to(name, value))).outcome == "allow"
		t.denied_by(t.decide(t.operation(t.executor, t.set_to(name, ""))), "SQL-SETTING")
	}
}

test_sql_setting_denies if {
	every name in [
		"role", "session_authorization", "session_replication_role", "client_encoding", "twokey.plan", "debug_print_plan", "no_such_setting",
	] {
		t.denied_by(t.decide(t.operation(t.executor, t.set_to(name, "on"))), "SQL-SETTING")
		t.denied_by(t.decide(t.operation(t.planner, t.set_to(name, "on"))), "SQL-SETTING")
	}
	every name in ["search_path", "transaction_read_only", "transaction_snapshot", "default_transaction_read_only", "standard_conforming_strings"] {
		t.denied_by(t.decide(t.operation(t.planner, t.set_to(name, "off"))), "SQL-SETTING")
	}
}

# By value: names that resolve to less, row security that errs in place of filtering.
test_sql_setting_allows_what_narrows if {
	every subject in [t.planner, t.executor] {
		every name, values in {"search_path": [""], "row_security": ["on", "off"]} {
			every value in values { t.decide(t.operation(subject, t.set_to(name, value))).outcome == "allow" }
			back := {"command": "RESET", "verbs": ["sql.reset"], "settings": [t.setting(name, "reset", "")]}
			t.decide(t.operation(subject, back)).outcome == "allow"
		}
		t.decide(t.operation(subject, t.set_to("statement_timeout", ""))).outcome == "allow"
		t.decide(t.operation(subject, t.set_to("restrict_nonsystem_relation_kind", "view, foreign-table"))).outcome == "allow"
	}
}

test_a_lock_that_reading_takes_is_a_read if {
	locking := {"command": "LOCK TABLE", "relations": [t.relation("orders", ["lock"])]}
	reading := object.union(locking, {"verbs": ["sql.lock-read"]})
	t.decide(t.operation(t.planner, reading)).outcome == "allow"
	t.denied_by(t.decide(t.operation(t.planner, object.union(locking, {"verbs": ["sql.lock"]}))), "SQL-VERB")
}

test_sql_setting_denies_what_does_not_narrow if {
	every name, value in {"search_path": "public", "row_security": "maybe", "restrict_nonsystem_relation_kind": ""} {
		t.denied_by(t.decide(t.operation(t.planner, t.set_to(name, value))), "SQL-SETTING")
	}
	t.decide(t.operation(t.stranger, t.set_to("search_path", ""))).outcome == "deny"
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
	t.decide(calling(t.planner, {"schema": "public", "language": "sql"})).outcome == "allow"
	not "SQL-FUNCTION" in t.rules(t.decide(calling(t.executor, {})))
}

test_sql_function_denies if {
	every patch in [
		{},
		{"schema": "public", "volatility": "immutable"},
		{"volatility": "stable", "name": "table_to_xml"},
		{"volatility": "stable", "security_definer": true},
		{"volatility": ""},
		{"schema": "public", "language": "plpgsql"},
		{"schema": "public", "language": "sql", "security_definer": true},
		{"language": "sql"},
	] {
		t.denied_by(t.decide(calling(t.planner, patch)), "SQL-FUNCTION")
	}
}

# SQL-CATALOG-FUNCTION
nobody_clear := {"masking": {"clear": {"executor": []}}}

activity := {"volatility": "stable", "name": "pg_stat_get_activity"}

test_sql_catalog_function_allows if {
	not "SQL-CATALOG-FUNCTION" in t.rules(t.decide(calling(t.executor, activity)))
	not "SQL-CATALOG-FUNCTION" in t.rules(t.decide_with(calling(t.executor, {}), nobody_clear))
}

test_sql_catalog_function_denies if {
	t.denied_by(t.decide_with(calling(t.executor, activity), nobody_clear), "SQL-CATALOG-FUNCTION")
	unlisted := object.union(nobody_clear, {"functions": {"forbidden": null}})
	t.denied_by(t.decide_with(calling(t.executor, {}), unlisted), "SQL-CATALOG-FUNCTION")
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

# SQL-CATALOG-COLUMN
naming(subject, name, column) := sql(t.operation(subject, t.select_orders), {
	"columns": [t.column(name, column, "output")],
	"output": [],
	"relations": [object.union(t.relation(name, ["read"]), {"schema": "pg_catalog", "catalog": true})],
})

test_sql_catalog_column_allows if {
	t.decide(of_catalog(naming(t.planner, "pg_subscription", "subname"))).outcome == "allow"
	t.decide(of_catalog(naming(t.executor, "pg_subscription", "subconninfo"))).outcome == "allow"
}

test_sql_catalog_column_denies if {
	t.denied_by(t.decide(of_catalog(naming(t.planner, "pg_subscription", "subconninfo"))), "SQL-CATALOG-COLUMN")
	t.denied_by(t.decide(of_catalog(naming(t.planner, "pg_authid", "rolpassword"))), "SQL-CATALOG-COLUMN")
}

of_catalog(question) := json.patch(question, [{"op": "replace", "path": "/operation/sql/columns/0/schema", "value": "pg_catalog"}])

# Messages
test_many_relations_are_counted_not_listed if {
	names := ["a", "b", "c", "d", "e", "f", "g"]
	relations := [t.relation(name, ["update"]) | some name in names]
	decision := t.decide(sql(t.operation(t.planner, t.update_orders), {"relations": relations}))
	some reason in decision.reasons
	reason.reason == "a planner may not write: UPDATE on public.a, public.b, public.c, public.d, public.e and 2 more"
}
