package twokey.root_test

import data.twokey.testing as t

# The shipped demonstration's story: each step as the rules answer it.
decided(subject, statement) := t.decide(t.operation(subject, statement))

estimated(subject, statement, rows) := t.decide(object.union(
	t.operation(subject, statement),
	{"values": t.values("known", rows)},
))

test_the_planner_reads_is_masked_and_may_not_write if {
	decided(t.planner, t.select_orders).outcome == "allow"
	decided(t.planner, t.select_email).outcome == "mask-columns"
	t.denied_by(decided(t.planner, t.update_orders), "SQL-PLANNER-WRITE")
	t.denied_by(decided(t.planner, t.do_block), "SQL-OPAQUE-DENIED")
}

test_the_executor_works_within_bounds if {
	bounded := estimated(t.executor, t.update_orders, 3)
	bounded.outcome == "allow"
	count(bounded.obligations) > 0
	t.held_by(estimated(t.executor, t.select_orders, 10000), "SQL-EXPORT-BUDGET")
	t.held_by(decided(t.executor, t.delete_orders), "SQL-DELETE")
	t.held_by(decided(t.executor, t.do_block), "SQL-OPAQUE")
	t.denied_by(decided(t.executor, t.drop_orders), "SQL-DROP-TRUNCATE")
}

test_only_a_reviewer_who_is_someone_else_releases_it if {
	requester := object.union(t.executor, {"roles": ["reviewer"], "role": "", "groups": ["dba"]})
	t.denied_by(t.decide(t.review(requester, t.pending)), "DUTY-REVIEW-SELF")
	t.denied_by(t.decide(t.review(t.person("bob", ["reviewer"], "", ["dba"]), t.pending)), "DUTY-REVIEW-SELF")
	t.decide(t.review(t.carol, t.pending)).outcome == "allow"
	released := object.union(t.operation(t.executor, t.delete_orders), {"context": {"approval": t.approved}})
	t.decide(released).outcome == "allow"
}
