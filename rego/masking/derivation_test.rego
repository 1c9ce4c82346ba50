package twokey.masking_test

import data.twokey.testing as t

derives := {"masking": {"derive": {"executor": ["email"]}}}

making(subject, source, temporary) := object.union(
	t.operation(subject, {
		"command": "CREATE TABLE AS",
		"verbs": ["sql.create", "sql.select"],
		"columns": [object.union(t.column(source[0], source[1], "output"), {})],
		"flows": [t.flow(source, ["recent", "it"], "create", temporary)],
	}),
	{"values": t.values("known", 1), "resource": {"environment": "development"}},
)

email := ["customers", "email"]

# MASK-DERIVE
test_mask_derive_allows if {
	found := t.obligation(t.decide_with(making(t.executor, email, false), derives), "classify")
	found == {"columns": [{"schema": "public", "relation": "recent", "column": "it", "label": "email"}]}
}

test_mask_derive_denies if {
	t.held_by(t.decide(making(t.executor, email, false)), "MASK-WRITE-DOWN") # the shipped data
	t.held_by(t.decide_with(making(t.executor, email, true), derives), "MASK-WRITE-DOWN")
	t.held_by(t.decide_with(making(t.executor, ["cards", "pan"], false), derives), "MASK-WRITE-DOWN")
	t.decide_with(making(t.planner, email, false), derives).outcome == "deny"
}

test_mask_derive_wants_one_label if {
	both := object.union(making(t.executor, email, false), {"operation": {"sql": {"flows": [
		t.flow(email, ["recent", "it"], "create", false),
		t.flow(["cards", "pan"], ["recent", "it"], "create", false),
	]}}})
	t.held_by(t.decide_with(both, {"masking": {"derive": {"executor": ["*"]}}}), "MASK-WRITE-DOWN")
}

# MASK-DERIVED
derived := {"crm": {"public.recent.it": "email"}}

altering(command, relations) := t.operation(t.executor, {"command": command, "verbs": ["sql.alter"], "relations": relations})

test_mask_derived_allows if {
	decision := with_derived(altering("ALTER", [t.relation("orders", ["ddl"])]))
	not "MASK-DERIVED" in t.rules(decision)
	not "MASK-DERIVED" in t.rules(t.decide(altering("ALTER", [t.relation("recent", ["ddl"])])))
}

test_mask_derived_denies if {
	every asked in [
		altering("ALTER", [t.relation("recent", ["ddl"])]),
		altering("ALTER TABLE", [t.relation("recent", ["ddl"])]),
		altering("ALTER SCHEMA", []),
	] {
		t.denied_by(with_derived(asked), "MASK-DERIVED")
	}
}

with_derived(asked) := answer if {
	given := object.union(t.config, {"derived": derived})
	answer := data.twokey.main.decision with input as asked with data.twokey.config as given
}

derive_obligations(asked, patch) := found if {
	found := data.twokey.masking.obligations with input as asked with data.twokey.config as t.config_with(patch)
}

derives_labels(asked) := derive_obligations(asked, derives) != set()

with_flow(flow) := object.union(making(t.executor, email, false), {"operation": {"sql": {"flows": [object.union(
	t.flow(email, ["recent", "it"], "create", false),
	flow,
)]}}})

flow_into(schema, relation, column) := {"target": {"schema": schema, "relation": relation, "column": column}}

# Each of its conditions alone: who derives, what is described, what is new, stays, has a name and no label yet.
test_mask_derive_is_for_new_tables_that_stay if {
	derives_labels(with_flow({}))
	every other in [
		{"kind": "insert"}, {"temporary": true}, flow_into("", "recent", "it"), flow_into("pg_temp", "recent", "it"),
		flow_into("public", "cards", "pan"),
	] {
		not derives_labels(with_flow(other))
	}
	not derives_labels(object.union(with_flow({}), {"operation": {"sql": {"opaque": true}}}))
	not derives_labels(t.operation(t.executor, t.select_orders))
	derive_obligations(with_flow({}), {"masking": {"derive": {"reader": ["email"]}}}) == set()
	derive_obligations(with_flow({}), {"masking": {"derive": {"executor": [], "reader": ["email"]}}}) == set()
}

test_mask_derive_is_not_for_who_sees_the_label_masked if {
	planners := {"masking": {"derive": {"planner": ["*"], "executor": ["*"]}}}
	derive_obligations(making(t.planner, email, false), planners) == set()
	derive_obligations(making(t.executor, email, false), planners) != set()
}

test_mask_derived_is_about_altering_what_holds_the_label if {
	every asked in [
		t.operation(t.executor, {"command": "SELECT", "verbs": ["sql.select"], "relations": [t.relation("recent", ["read"])]}),
		altering("ALTER ROLE", []),
		altering("ALTER TABLE", [t.relation("recent2", ["ddl"])]),
		object.union(altering("ALTER TABLE", [t.relation("recent", ["ddl"])]), {"question": "read"}),
	] {
		denied := data.twokey.masking.deny with input as asked
			with data.twokey.config as object.union(t.config, {"derived": derived})
		count({why | some why in denied; why.rule == "MASK-DERIVED"}) == 0
	}
}
