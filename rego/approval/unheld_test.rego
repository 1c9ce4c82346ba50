package twokey.approval_test

import data.twokey.config.policy
import data.twokey.testing as t

unheld := object.union(deletes, {"context": {"can_hold": false}})

denying := object.union(policy.approvals, {"unheld": "deny"})

# APPROVAL-UNHELD
test_approval_unheld_allows if {
	t.held_by(t.decide(unheld), "SQL-DELETE")
	t.held_by(t.decide(deletes), "SQL-DELETE") with data.twokey.config.policy.approvals as denying
	t.decide(with_verdicts([carol])).outcome == "allow" with data.twokey.config.policy.approvals as denying
}

test_approval_unheld_denies if {
	t.denied_by(t.decide(unheld), "APPROVAL-UNHELD") with data.twokey.config.policy.approvals as denying
}

test_approval_unheld_leaves_what_needs_no_approval if {
	reads := object.union(t.operation(t.planner, t.select_orders), {"context": {"can_hold": false}})
	t.decide(reads).outcome == "allow" with data.twokey.config.policy.approvals as denying
}

test_approval_unheld_leaves_what_was_approved if {
	released := object.union(with_verdicts([carol]), {"context": {"can_hold": false}})
	t.decide(released).outcome == "allow" with data.twokey.config.policy.approvals as denying
}
