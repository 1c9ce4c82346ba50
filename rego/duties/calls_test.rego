package twokey.duties_test

import data.twokey.testing as t

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

# DUTY-CALL-ABOUT
explain_about(subject, name) := object.union(
	t.call(subject, "twokey.decision.v1.DecisionService/Explain"),
	{"resource": {"subject": name}},
)

test_duty_call_about_allows if {
	t.decide(explain_about(t.carol, "executor-7")).outcome == "allow"
	t.decide(explain_about(t.executor, "")).outcome == "allow"
	t.decide(explain_about(t.executor, t.executor.name)).outcome == "allow"
}

test_duty_call_about_denies if {
	t.denied_by(t.decide(explain_about(t.executor, "carol")), "DUTY-CALL-ABOUT")
	t.denied_by(t.decide(explain_about(object.union(t.carol, {"kind": "unknown"}), "dana")), "DUTY-CALL-ABOUT")

	# A person's token in an agent's hands is the agent asking.
	agent := {"iss": "i", "sub": "s", "name": "executor-7", "kind": "agent", "owner": "alice"}
	t.denied_by(t.decide(explain_about(object.union(t.carol, {"actors": [agent]}), "dana")), "DUTY-CALL-ABOUT")
}

test_duty_call_unregistered_allows if {
	not "DUTY-CALL-UNREGISTERED" in t.rules(t.decide(t.call(t.carol, rpc)))
}

test_duty_call_unregistered_denies if {
	t.denied_by(t.decide(t.call(object.union(t.carol, {"kind": "unknown"}), rpc)), "DUTY-CALL-UNREGISTERED")
}
