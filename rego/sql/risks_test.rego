package twokey.sql_test

import data.twokey.testing as t

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
