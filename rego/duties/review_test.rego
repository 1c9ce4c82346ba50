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

# Terms of approvals.yaml under which a review is asked for.
asks(wanted) := {"approvals": {"rules": {"SQL-DELETE": object.union({"expires_s": 60}, wanted)}}}

of(name, groups) := object.union(t.verdict(name), {"groups": groups})

in_order := {"stages": [{"groups": ["dba"], "quorum": 2}, {"groups": ["security"]}, {"groups": ["leads"]}]}

# DUTY-REVIEW-STAGE
reviewer(name, groups) := t.person(name, ["reviewer"], "", groups)

asked_of(subject, verdicts, wanted) := t.decide_with(
	t.review(subject, object.union(t.pending, {"verdicts": verdicts, "groups": ["dba", "security", "leads"]})),
	asks(wanted),
)

test_duty_review_stage_allows if {
	asked_of(reviewer("a", ["dba"]), [], in_order).outcome == "allow"
	asked_of(reviewer("c", ["security"]), [of("a", ["dba"]), of("b", ["dba"])], in_order).outcome == "allow"
}

test_duty_review_stage_denies if {
	t.denied_by(asked_of(reviewer("c", ["security"]), [], in_order), "DUTY-REVIEW-STAGE")
	t.denied_by(asked_of(reviewer("c", ["security"]), [of("a", ["dba"])], in_order), "DUTY-REVIEW-STAGE")
	t.denied_by(asked_of(reviewer("d", ["leads"]), [of("a", ["dba"]), of("b", ["dba"])], in_order), "DUTY-REVIEW-STAGE")
}

test_duty_review_stage_lets_who_waits_for_their_turn_look if {
	waiting := object.union(t.pending, {"groups": ["dba", "security", "leads"]})
	asked := object.union(t.review(reviewer("d", ["leads"]), waiting), {"action": {"name": "approval.see"}})
	t.decide_with(asked, asks(in_order)).outcome == "allow"
}

# DUTY-REVIEW-STEP-UP
strong := {"groups": ["dba"], "step_up": {"acr": ["phr"], "max_age_s": 300}}

stepped(login) := t.decide_with(object.union(t.review(t.carol, t.pending), {"context": {"authentication": login}}), asks(strong))

test_duty_review_step_up_allows if {
	stepped({"acr": "phr", "age_s": 300}).outcome == "allow"
	seen := object.union(t.review(t.carol, t.pending), {"action": {"name": "approval.see"}})
	t.decide_with(seen, asks(strong)).outcome == "allow"
}

test_duty_review_step_up_denies if {
	every login in [{"acr": "", "age_s": -1}, {"acr": "phr", "age_s": 301}, {"acr": "phr", "age_s": -1}, {"acr": "pwd", "age_s": 1}] {
		t.denied_by(stepped(login), "DUTY-REVIEW-STEP-UP")
	}
}
