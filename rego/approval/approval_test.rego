package twokey.approval_test

import data.twokey.testing as t

deletes := t.operation(t.executor, t.delete_orders)

with_verdicts(verdicts) := object.union(deletes, {"context": {"approval": object.union(t.pending, {"verdicts": verdicts})}})

carol := t.verdict("carol")

# DUTY-VERDICT
test_duty_verdict_allows if t.decide(with_verdicts([carol])).outcome == "allow"

test_duty_verdict_denies if {
	every patch in [
		{"closure": ["bob"]},
		{"closure": ["carol", "executor-7"]},
		{"closure": []},
		{"kind": "agent"},
		{"kind": "unknown"},
		{"in_people": false},
		{"revoked": true},
		{"groups": ["finance"]},
		{"groups": []},
	] {
		t.held_by(t.decide(with_verdicts([object.union(carol, patch)])), "SQL-DELETE")
	}
	t.held_by(t.decide(with_verdicts([])), "SQL-DELETE")
}

test_duty_verdict_denies_where_the_requester_is_unknown if {
	unknown := {"requester_closure": [], "verdicts": [carol]}
	question := object.union(deletes, {"context": {"approval": object.union(t.pending, unknown)}})
	t.held_by(t.decide(question), "SQL-DELETE")
}

test_duty_verdict_denies_verdicts_without_an_approval if {
	absent := {"present": false, "verdicts": [carol]}
	question := object.union(deletes, {"context": {"approval": object.union(t.pending, absent)}})
	t.held_by(t.decide(question), "SQL-DELETE")
}

test_duty_verdict_counts_only_who_is_still_assigned if {
	still := {"duties": {"assignments": {"carol": ["head"]}, "hierarchy": {"head": ["reviewer"]}}}
	t.decide_with(with_verdicts([carol]), still).outcome == "allow"
	every assigned in [{"carol": ["auditor"]}, {"dave": ["reviewer"]}] {
		t.held_by(t.decide_with(with_verdicts([carol]), {"duties": {"assignments": assigned}}), "SQL-DELETE")
	}
}

two := {"approvals": {"default": {"quorum": 2}}}

test_duty_verdict_counts_principals_not_accounts if {
	same := object.union(t.verdict("carol-2"), {"closure": ["carol-2", "carol"]})
	t.held_by(t.decide_with(with_verdicts([carol, same]), two), "SQL-DELETE")
	t.held_by(t.decide_with(with_verdicts([carol, carol]), two), "SQL-DELETE")
	t.decide_with(with_verdicts([carol, t.verdict("dave")]), two).outcome == "allow"
	t.decide_with(deletes, two).approval == {"groups": ["dba"], "quorum": 2, "expires_s": 3600}
}

test_duty_verdict_counts_against_the_larger_quorum if {
	approval := object.union(t.pending, {"quorum": 2, "verdicts": [carol]})
	t.held_by(t.decide(object.union(deletes, {"context": {"approval": approval}})), "SQL-DELETE")
	t.held_by(t.decide_with(with_verdicts([]), {"approvals": {"default": {"quorum": 0}}}), "SQL-DELETE")
}

# Two rules hold it, each with its own terms.
whole := object.union(with_verdicts([carol]), {"operation": {"sql": {"has_where": false}}})

terms(groups, quorum, expires) := {"approvals": {"rules": {"SQL-NO-WHERE": {
	"groups": groups,
	"quorum": quorum,
	"expires_s": expires,
}}}}

test_terms_combine_to_the_stricter if {
	decision := t.decide_with(whole, terms(["dba", "leads"], 2, 60))
	t.held_by(decision, "SQL-NO-WHERE")
	not "SQL-DELETE" in t.rules(decision)
	decision.approval == {"groups": ["dba"], "quorum": 2, "expires_s": 60}
}

test_terms_without_a_common_group_deny if {
	t.denied_by(t.decide_with(whole, terms(["leads"], 1, 60)), "MAIN-GROUPS")
}

# DUTY-REFUSED
test_duty_refused_allows if not "DUTY-REFUSED" in t.rules(t.decide(with_verdicts([carol])))

test_duty_refused_denies if {
	dave := object.union(t.verdict("dave"), {"approve": false})
	t.denied_by(t.decide(with_verdicts([carol, dave])), "DUTY-REFUSED")
}

test_duty_verdict_denies_whom_only_one_of_both_closures_names if {
	then := object.union(t.pending, {"verdicts": [carol], "requester_closure": ["executor-7", "carol"]})
	t.held_by(t.decide(object.union(deletes, {"context": {"approval": then}})), "SQL-DELETE")
	now := object.union(with_verdicts([carol]), {"subject": {"closure": ["executor-7", "bob", "carol"]}})
	t.held_by(t.decide(now), "SQL-DELETE")
}
