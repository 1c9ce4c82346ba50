package twokey.duties_test

import data.twokey.testing as t

# DUTY-SESSION, DUTY-ROLE
test_duty_session_allows if {
	every subject in [t.planner, t.executor, t.stranger] {
		decision := t.decide(t.session(subject))
		decision.outcome == "allow"
		t.rules(decision) == {"DUTY-SESSION"}
	}
}

test_duty_session_denies if {
	t.decide(object.union(t.session(t.planner), {"resource": {"type": "rpc"}})).outcome == "deny"
}

test_duty_role_allows if not "DUTY-ROLE" in t.rules(t.decide(t.session(t.planner)))

test_duty_role_denies if {
	every role in ["executor", "reviewer", "nobody", ""] {
		t.denied_by(t.decide(t.session(object.union(t.planner, {"role": role}))), "DUTY-ROLE")
	}
	reviewer := t.person("carol", ["reviewer"], "reviewer", ["dba"])
	t.denied_by(t.decide(t.session(reviewer)), "DUTY-ROLE")
	borrowed := object.union(t.planner, {"role": "executor"})
	t.denied_by(t.decide(t.operation(borrowed, t.begin)), "DUTY-ROLE")
}

# DUTY-UNREGISTERED
unregistered := [
	t.stranger,
	object.union(t.planner, {"owner": ""}),
	object.union(t.planner, {"kind": "unknown"}),
	object.union(t.planner, {"actors": [t.party("x", "unknown", "")]}),
	object.union(t.planner, {"actors": [t.party("executor-7", "agent", "bob"), t.party("y", "agent", "")]}),
]

test_duty_unregistered_allows if {
	every subject in unregistered { t.decide(t.operation(subject, t.begin)).outcome == "allow" }
	chained := object.union(t.planner, {"actors": [t.party("executor-7", "agent", "bob")]})
	t.decide(t.operation(chained, t.select_orders)).outcome == "allow"
}

test_duty_unregistered_denies if {
	every subject in unregistered {
		t.denied_by(t.decide(t.operation(subject, t.select_orders)), "DUTY-UNREGISTERED")
		t.denied_by(t.decide(t.operation(subject, t.do_block)), "DUTY-UNREGISTERED")
	}
}

# DUTY-STATIC
test_duty_static_allows if {
	t.decide(t.session(t.person("bob", ["executor", "auditor"], "executor", []))).outcome == "allow"
	t.decide(t.review(t.carol, t.pending)).outcome == "allow"
}

test_duty_static_denies if {
	both := t.person("bob", ["planner", "executor"], "planner", [])
	t.denied_by(t.decide(t.session(both)), "DUTY-STATIC")
	t.denied_by(t.decide(t.operation(both, t.select_orders)), "DUTY-STATIC")
	judge := t.person("carol", ["executor", "reviewer"], "", ["dba"])
	t.denied_by(t.decide(t.review(judge, t.pending)), "DUTY-STATIC")
}

# DUTY-DYNAMIC
with_live(subject, sessions) := object.union(t.session(subject), {"context": {"sessions": sessions}})

live(role, closure) := {"role": role, "connection": "crm", "closure": closure}

test_duty_dynamic_allows if {
	t.decide(with_live(t.executor, [live("executor", ["executor-7", "bob"])])).outcome == "allow"
	t.decide(with_live(t.executor, [live("planner", ["planner-1", "alice"])])).outcome == "allow"
	t.decide(with_live(t.executor, [])).outcome == "allow"
}

test_duty_dynamic_denies if {
	decision := t.decide(with_live(t.executor, [live("planner", ["planner-2", "bob"])]))
	t.denied_by(decision, "DUTY-DYNAMIC")
	some reason in decision.reasons
	contains(reason.reason, "has a live session as planner, which excludes executor")
}

test_duty_dynamic_denies_at_the_limit_of_a_larger_set if {
	sets := [{"name": "n-of-m", "roles": ["planner", "executor", "auditor"], "limit": 3}]
	policy := {"duties": {"dynamic": sets}}
	t.decide_with(with_live(t.executor, [live("planner", ["bob"])]), policy).outcome == "allow"
	t.denied_by(
		t.decide_with(with_live(t.executor, [live("planner", ["bob"]), live("auditor", ["bob"])]), policy),
		"DUTY-DYNAMIC",
	)
}

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

# DUTY-CALL and what refuses one
rpc := "twokey.approval.v1.ApprovalService/Approve"

test_duty_call_allows if {
	decision := t.decide(t.call(t.carol, rpc))
	decision.outcome == "allow"
	t.rules(decision) == {"DUTY-CALL"}
	t.decide(t.call(t.carol, concat("", ["/", rpc]))).outcome == "allow"
	t.decide(t.call(t.executor, "twokey.decision.v1.DecisionService/Explain")).outcome == "allow"
}

test_duty_call_denies if t.decide(object.union(t.call(t.carol, rpc), {"resource": {"type": "x"}})).outcome == "deny"

test_duty_call_role_allows if not "DUTY-CALL-ROLE" in t.rules(t.decide(t.call(t.carol, rpc)))

test_duty_call_role_denies if {
	t.denied_by(t.decide(t.call(t.carol, "twokey.audit.v1.AuditService/Read")), "DUTY-CALL-ROLE")
	t.denied_by(t.decide(t.call(t.carol, "twokey.nothing.v1.Service/Call")), "DUTY-CALL-ROLE")
	everything := t.person("carol", ["reviewer", "auditor", "admin"], "", [])
	every name in data.twokey.config.policy.calls.enforcer {
		t.denied_by(t.decide(t.call(everything, name)), "DUTY-CALL-ROLE")
		stolen := {"calls": {"roles": {name: ["admin"]}}}
		t.denied_by(t.decide_with(t.call(everything, name), stolen), "DUTY-CALL-ROLE")
	}
}

test_duty_call_unregistered_allows if {
	not "DUTY-CALL-UNREGISTERED" in t.rules(t.decide(t.call(t.carol, rpc)))
}

test_duty_call_unregistered_denies if {
	t.denied_by(t.decide(t.call(object.union(t.carol, {"kind": "unknown"}), rpc)), "DUTY-CALL-UNREGISTERED")
}
