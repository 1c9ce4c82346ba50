package twokey.duties_test

import data.twokey.testing as t

# DUTY-REVIEW and what refuses one
test_duty_review_allows if {
	decision := t.decide(t.review(t.carol, t.pending))
	decision.outcome == "allow"
	t.rules(decision) == {"DUTY-REVIEW"}
}

test_duty_review_denies if {
	t.decide(t.review(object.union(t.carol, {"kind": "unknown"}), t.pending)).outcome == "deny"
	t.decide(object.union(t.review(t.carol, t.pending), {"question": "session"})).outcome == "deny"
}

test_duty_review_self_allows if {
	alice := t.person("alice", ["reviewer"], "", ["dba"])
	t.decide(t.review(alice, t.pending)).outcome == "allow"
}

test_duty_review_self_denies if {
	owner := t.person("bob", ["reviewer"], "", ["dba"])
	decision := t.decide(t.review(owner, t.pending))
	t.denied_by(decision, "DUTY-REVIEW-SELF")
	some reason in decision.reasons
	reason.reason == "bob may not review this act: it was asked for by or on behalf of bob"
	linked := object.union(t.carol, {"closure": ["carol", "[\"slack:T1\",\"U1\"]"]})
	delegated := object.union(t.pending, {"requester_closure": ["executor-7", "[\"slack:T1\",\"U1\"]"]})
	t.denied_by(t.decide(t.review(linked, delegated)), "DUTY-REVIEW-SELF")
	acting := object.union(t.pending, {"requester_acting_closure": ["carol"]})
	t.denied_by(t.decide(t.review(t.carol, acting)), "DUTY-REVIEW-SELF")
	requester := object.union(t.executor, {"roles": ["reviewer"], "role": "", "groups": ["dba"]})
	t.denied_by(t.decide(t.review(requester, t.pending)), "DUTY-REVIEW-SELF")
}

test_duty_review_unknown_allows if not "DUTY-REVIEW-UNKNOWN" in t.rules(t.decide(t.review(t.carol, t.pending)))

test_duty_review_unknown_denies if {
	every patch in [
		{"kind": "unknown", "name": ""},
		{"kind": "agent", "owner": "alice"},
		{"name": ""},
		{"closure": []},
		{"actors": [t.party("executor-7", "agent", "bob")]},
	] {
		t.denied_by(t.decide(t.review(object.union(t.carol, patch), t.pending)), "DUTY-REVIEW-UNKNOWN")
	}
}

test_duty_review_role_allows if not "DUTY-REVIEW-ROLE" in t.rules(t.decide(t.review(t.carol, t.pending)))

test_duty_review_role_denies if {
	auditor := t.person("carol", ["auditor"], "", ["dba"])
	t.denied_by(t.decide(t.review(auditor, t.pending)), "DUTY-REVIEW-ROLE")
	every rpc in ["Approve", "Deny"] {
		name := concat("/", ["twokey.approval.v1.ApprovalService", rpc])
		t.denied_by(t.decide(t.call(t.executor, name)), "DUTY-REVIEW-ROLE")
	}
}

test_duty_review_group_allows if not "DUTY-REVIEW-GROUP" in t.rules(t.decide(t.review(t.carol, t.pending)))

test_duty_review_group_denies if {
	finance := t.person("carol", ["reviewer"], "", ["finance"])
	t.denied_by(t.decide(t.review(finance, t.pending)), "DUTY-REVIEW-GROUP")
	t.denied_by(t.decide(t.review(t.carol, object.union(t.pending, {"groups": []}))), "DUTY-REVIEW-GROUP")
}

test_duty_review_twice_allows if {
	seconded := object.union(t.pending, {"verdicts": [t.verdict("dave")]})
	t.decide(t.review(t.carol, seconded)).outcome == "allow"
}

test_duty_review_twice_denies if t.denied_by(t.decide(t.review(t.carol, t.approved)), "DUTY-REVIEW-TWICE")

test_duty_review_requester_allows if {
	not "DUTY-REVIEW-REQUESTER" in t.rules(t.decide(t.review(t.carol, t.pending)))
}

test_duty_review_requester_denies if {
	t.denied_by(t.decide(t.review(t.carol, t.no_approval)), "DUTY-REVIEW-REQUESTER")
	nobody := object.union(t.pending, {"requester_closure": []})
	t.denied_by(t.decide(t.review(t.carol, nobody)), "DUTY-REVIEW-REQUESTER")
}
