package twokey.duties_test

import data.twokey.testing as t

in_plan(question, plan) := object.union(question, {"context": {"plan": object.union(t.planned, plan)}})

one_row := object.union(t.update_orders, {"most_rows": 1})

the_step := in_plan(t.operation(t.executor, one_row), {})

committing := t.operation(t.executor, {"command": "COMMIT", "verbs": ["sql.transaction"]})

# DUTY-PLAN-STEP
test_duty_plan_step_allows if {
	t.decide(the_step).outcome == "allow"

	# Transaction control passes outside of the order.
	t.decide(in_plan(committing, {"fits": false, "expects": "step 2 of 3 expects …"})).outcome == "allow"
}

test_duty_plan_step_denies if {
	other := in_plan(t.operation(t.executor, one_row), {"fits": false, "expects": "step 2 of 3 expects DELETE"})
	decision := t.decide(other)
	t.denied_by(decision, "DUTY-PLAN-STEP")
	contains(decision.reasons[0].reason, "step 2 of 3 expects DELETE")

	# Reading is no exception, and a step is one only for a clear yes.
	t.denied_by(t.decide(in_plan(t.operation(t.executor, t.select_orders), {"fits": false})), "DUTY-PLAN-STEP")
	t.denied_by(t.decide(in_plan(t.operation(t.executor, t.select_orders), {"fits": "true"})), "DUTY-PLAN-STEP")
}

test_duty_plan_step_takes_no_part_back if {
	savepoint := t.operation(t.executor, {"command": "SAVEPOINT", "verbs": ["sql.transaction"]})
	t.decide(savepoint).outcome == "allow"
	t.denied_by(t.decide(in_plan(savepoint, {"fits": false})), "DUTY-PLAN-STEP")
}

# DUTY-PLAN-RESOLVE
resolving(subject, plan) := in_plan(t.call(subject, "twokey.plan.v1.PlanService/Resolve"), plan)

frank := t.person("frank", ["admin"], "", [])

test_duty_plan_resolve_allows if {
	t.decide(resolving(frank, {})).outcome == "allow"
	t.decide(t.call(frank, "twokey.plan.v1.PlanService/Resolve")).outcome == "allow"
}

test_duty_plan_resolve_denies if {
	every name in ["alice", "bob", "planner-1", "executor-7"] {
		t.denied_by(t.decide(resolving(object.union(frank, {"closure": ["frank", name]}), {})), "DUTY-PLAN-RESOLVE")
	}
	every unknown in [{"requester_closure": []}, {"executor_closure": []}] {
		t.denied_by(t.decide(resolving(frank, unknown)), "DUTY-PLAN-RESOLVE")
	}
	t.denied_by(t.decide(resolving(object.union(frank, {"kind": "agent", "owner": "grace"}), {})), "DUTY-PLAN-RESOLVE")
	sent := object.union(frank, {"actors": [t.party("executor-9", "agent", "grace")]})
	t.denied_by(t.decide(resolving(sent, {})), "DUTY-PLAN-RESOLVE")
}

# DUTY-REVIEW-SELF, of a plan
test_duty_review_self_of_a_plan_allows if {
	t.decide(in_plan(t.review(t.carol, t.pending), {})).outcome == "allow"
}

test_duty_review_self_of_a_plan_denies if {
	theirs := in_plan(t.review(t.carol, t.pending), {"executor_closure": ["executor-9", "carol"]})
	t.denied_by(t.decide(theirs), "DUTY-REVIEW-SELF")
}

# DUTY-PLAN
test_duty_plan_allows if {
	t.decide(in_plan(t.session(t.executor), {})).outcome == "allow"
	own := in_plan(t.session(t.executor), {"requester_acting_closure": ["planner-2", "bob"]})
	t.decide_with(own, {"duties": {"plans": {"apart": false}}}).outcome == "allow"
}

test_duty_plan_denies if {
	every asked in [t.session(t.executor), t.operation(t.executor, one_row), committing] {
		t.denied_by(t.decide(in_plan(asked, {"requester_acting_closure": ["executor-7"]})), "DUTY-PLAN")
		t.denied_by(t.decide(in_plan(asked, {"requester_acting_closure": ["planner-2", "bob"]})), "DUTY-PLAN")

		# Of whom nobody knows who planned it.
		t.denied_by(t.decide(in_plan(asked, {"requester_acting_closure": []})), "DUTY-PLAN")
	}
	nobody := object.union(t.executor, {"acting_closure": []})
	t.denied_by(t.decide(in_plan(t.session(nobody), {})), "DUTY-PLAN")
}

# DUTY-PLAN-ROWS
test_duty_plan_rows_denies if {
	t.obligation(t.decide(in_plan(t.operation(t.executor, one_row), {"rows_most": 3})), "max-rows") == {"rows": 3}
	both := in_plan(t.operation(t.executor, one_row), {"rows_least": 1, "rows_most": 0})
	t.obligation(t.decide(both), "max-rows") == {"rows": 0, "least": 1}
	least := in_plan(t.operation(t.executor, one_row), {"rows_least": 2})
	t.obligation(t.decide(least), "max-rows") == {"rows": 9007199254740991, "least": 2}
}

test_duty_plan_rows_allows if {
	not t.obligation(t.decide(the_step), "max-rows")

	# What is no step is bound by none.
	not t.obligation(t.decide(in_plan(committing, {"fits": false, "rows_most": 3})), "max-rows")
}
