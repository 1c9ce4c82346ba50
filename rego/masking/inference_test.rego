package twokey.masking_test

import data.twokey.testing as t

# MASK-BUDGET, MASK-INFERENCE with budgets
lookup(kind) := object.union(t.operation(t.planner, t.select_orders), {"operation": {"sql": {
	"columns": [t.column("orders", "id", "output"), t.column("customers", "email", "other")],
	"inferences": [t.inference("customers", "email", kind, "")],
}}})

with_budgets(entries) := {"masking": {"inference": {"allow": ["join-foreign-key"], "budgets": entries}}}

lookups := with_budgets([{"name": "lookups", "kinds": ["where", "join"], "per_hour": 3}])

shown(question, used) := object.union(question, {"context": {"budgets": {"present": true, "used": used}}})

test_mask_counted_denies if {
	decision := t.decide_with(lookup("where"), lookups)
	decision.outcome == "deny"
	decision.needs == ["budgets"]
	decision.counts == [{"budget": "lookups", "limit": 3, "seconds": 3600}]
	decision.lease == null
}

test_mask_counted_allows if {
	every question in [lookup("join-foreign-key"), t.operation(t.planner, t.select_email), t.operation(t.planner, t.select_orders)] {
		decision := t.decide_with(question, lookups)
		decision.outcome in {"allow", "mask-columns"}
		decision.needs == []
		decision.counts == []
	}
	t.decide_with(t.operation(t.planner, t.select_orders), lookups).lease != null
}

test_mask_budget_allows if {
	every free_in in [[], [10], [10, 3600]] {
		decision := t.decide_with(shown(lookup("where"), [{"name": "lookups", "free_in": free_in}]), lookups)
		decision.outcome == "allow"
		decision.needs == []
		count(decision.counts) == 1
		decision.lease == null
		decision.durability == "before"
	}
}

test_mask_budget_denies if {
	every free_in in [[61, 62, 63], [60, 61, 62, 63]] {
		decision := t.decide_with(shown(lookup("where"), [{"name": "lookups", "free_in": free_in}]), lookups)
		t.denied_by(decision, "MASK-BUDGET")
		some reason in decision.reasons
		reason.next == "the next is free at 12:01:01 UTC, in 61 s"
		contains(reason.reason, sprintf("%d of 3", [count(free_in)]))
	}
}

# What was not looked up, or is none, is no unit left.
test_mask_budget_denies_what_it_was_not_shown if {
	every used in [
		[],
		[{"name": "others", "free_in": []}],
		[{"name": "lookups", "free_in": null}],
		[{"name": "lookups", "free_in": 0}],
		[{"name": "lookups", "free_in": ""}],
	] {
		t.denied_by(t.decide_with(shown(lookup("where"), used), lookups), "MASK-BUDGET")
	}
}

test_mask_budget_none_a_hour_is_none if {
	none := with_budgets([{"name": "none", "per_hour": 0}])
	t.denied_by(t.decide_with(shown(lookup("where"), [{"name": "none", "free_in": []}]), none), "MASK-BUDGET")
}

test_mask_inference_denies_what_no_budget_is_for if {
	every kind in ["group", "order", "unlisted"] {
		t.denied_by(t.decide_with(lookup(kind), lookups), "MASK-INFERENCE")
		t.denied_by(t.decide_with(shown(lookup(kind), [{"name": "lookups", "free_in": []}]), lookups), "MASK-INFERENCE")
	}
	both := object.union(lookup("where"), {"operation": {"sql": {"inferences": [
		t.inference("customers", "email", "where", ""),
		t.inference("customers", "email", "order", ""),
	]}}})
	t.denied_by(t.decide_with(both, lookups), "MASK-INFERENCE")
	every entry in [
		{"name": "a", "per_hour": 3, "labels": ["pan"]},
		{"name": "a", "per_hour": 3, "roles": ["analyst"]},
		{"name": "a", "per_hour": 3, "environments": ["staging"]},
		{"name": "a", "per_hour": 3, "connections": ["warehouse"]},
		{"name": "a", "per_hour": 3, "kinds": []},
	] {
		t.denied_by(t.decide_with(lookup("where"), with_budgets([entry])), "MASK-INFERENCE")
	}
}

test_a_statement_counts_against_each_budget_that_fits_and_needs_a_unit_of_each if {
	two := with_budgets([
		{"name": "lookups", "kinds": ["where"], "per_hour": 3},
		{"name": "emails", "labels": ["email"], "per_hour": 5},
		{"name": "cards", "labels": ["pan"], "per_hour": 1},
	])
	counts := {counted.budget | some counted in t.decide_with(lookup("where"), two).counts}
	counts == {"lookups", "emails"}
	full := [{"name": "lookups", "free_in": []}, {"name": "emails", "free_in": [1, 2, 3, 4, 5]}]
	t.denied_by(t.decide_with(shown(lookup("where"), full), two), "MASK-BUDGET")
	free := [{"name": "lookups", "free_in": [7]}, {"name": "emails", "free_in": [1, 2, 3, 4]}]
	t.decide_with(shown(lookup("where"), free), two).outcome == "allow"
}

# A budget pays for inference, for nothing else that a classified column may not do.
test_a_budget_permits_nothing_but_inference if {
	tells := object.union(lookup("where"), {"operation": {"sql": {"output": [t.computed("n", [t.source("customers", "email", "tells", "pg_catalog./")])]}}})
	t.denied_by(t.decide_with(tells, lookups), "MASK-TELLS")
	explained := object.union(lookup("where"), {"action": {"verbs": ["sql.explain"]}, "operation": {"sql": {"verbs": ["sql.explain"]}}})
	t.denied_by(t.decide_with(explained, lookups), "MASK-STREAM")
	drop := object.union(lookup("where"), {"action": {"verbs": ["sql.drop"]}, "operation": {"sql": {"verbs": ["sql.drop"]}}})
	t.decide_with(shown(drop, [{"name": "lookups", "free_in": []}]), lookups).outcome == "deny"
}

test_a_role_that_sees_the_label_spends_nothing if {
	question := object.union(lookup("where"), {"subject": t.executor, "values": t.values("known", 1)})
	decision := t.decide_with(question, lookups)
	decision.outcome == "allow"
	decision.counts == []
}
