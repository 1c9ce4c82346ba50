package twokey.masking_missing_test

import data.twokey.testing as t

missing := {"missing_columns": [{"schema": "public", "relation": "customers", "column": "e.mail"}]}

on_catalog := object.union(t.select_orders, {
	"relations": [object.union(t.relation("pg_class", ["read"]), {"schema": "pg_catalog", "catalog": true})],
	"columns": [],
	"output": [],
})

# MASK-MISSING
test_mask_missing_allows if {
	t.decide(t.operation(t.planner, t.select_orders)).outcome == "allow"

	# who sees every label has nothing to lose, and the catalog's own relations hold no values
	executor := object.union(t.operation(t.executor, object.union(t.select_orders, missing)), {"values": t.values("known", 1)})
	t.decide(executor).outcome == "allow"
	t.decide(t.operation(t.planner, object.union(on_catalog, missing))).outcome == "allow"
	t.decide(t.operation(t.planner, object.union(t.begin, missing))).outcome == "allow"
}

test_mask_missing_denies if {
	decision := t.decide(t.operation(t.planner, object.union(t.select_orders, missing)))
	decision.outcome == "deny"
	t.rules(decision) == {"MASK-MISSING"}
	some reason in decision.reasons
	contains(reason.reason, `public.customers."e.mail"`)
}

test_mask_missing_denies_what_can_not_be_seen if {
	unseen := {"command": "DO", "verbs": ["sql.do"], "opaque": true}
	"MASK-MISSING" in t.rules(t.decide(t.operation(t.planner, object.union(unseen, missing))))
}
