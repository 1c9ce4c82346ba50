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

# Data that doesn't say which calls are enforcers' permits none.
test_duty_call_role_denies_by_incomplete_data if {
	without := {"calls": {"enforcer": "none"}}
	t.denied_by(t.decide_with(t.call(t.carol, rpc), without), "DUTY-CALL-ROLE")
	t.denied_by(t.decide_with(about(bob, kill, [["bob"]]), without), "DUTY-CALL-ROLE")
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

# DUTY-CALL-OWN and DUTY-CALL-OTHERS: bob owns executor-7; planner-1 is alice's.
kill := "twokey.decision.v1.DecisionService/Revoke"

about(subject, rpc_name, closures) := object.union(t.call(subject, rpc_name), {"context": {"sessions": [one |
	some closure in closures
	one := {"role": "executor", "connection": "crm", "closure": closure}
]}})

bob := t.person("bob", ["executor"], "", [])

admin := t.person("carol", ["admin"], "", [])

test_duty_call_own_allows if {
	decision := t.decide(about(bob, kill, [["bob"], ["bob", "executor-7"]]))
	decision.outcome == "allow"
	t.rules(decision) == {"DUTY-CALL-OWN"}
	t.decide(about(bob, kill, [])).outcome == "allow"
	list := "twokey.decision.v1.DecisionService/ListSessions"
	t.decide(about(t.carol, list, [["carol"]])).outcome == "allow"
}

test_duty_call_own_denies if {
	not "DUTY-CALL-OWN" in t.rules(t.decide(about(bob, kill, [["bob"], ["carol"]])))

	# Not by the name of a role that has nothing of its own, nor for what calls.yaml does not name.
	t.decide(about(t.person("bob", ["stranger"], "", []), kill, [["bob"]])).outcome == "deny"
	t.decide(about(bob, "twokey.audit.v1.AuditService/Read", [["bob"]])).outcome == "deny"
	t.decide_with(about(bob, kill, [["bob"]]), {"calls": {"own": {kill: []}}}).outcome == "deny"
	enforcers := {"calls": {"own": {"twokey.decision.v1.DecisionService/Decide": ["executor"]}}}
	t.decide_with(about(bob, "twokey.decision.v1.DecisionService/Decide", []), enforcers).outcome == "deny"
}

test_duty_call_others_allows if {
	decision := t.decide(about(admin, kill, [["bob"], []]))
	decision.outcome == "allow"
	t.rules(decision) == {"DUTY-CALL"}
	agent_admin := object.union(t.executor, {"roles": ["admin"]})
	t.decide(about(agent_admin, kill, [["carol"]])).outcome == "allow"
}

test_duty_call_others_denies if {
	t.denied_by(t.decide(about(bob, kill, [["bob"], ["carol"]])), "DUTY-CALL-OTHERS")

	# Nobody knows whose it is.
	t.denied_by(t.decide(about(bob, kill, [[]])), "DUTY-CALL-OTHERS")

	# An agent may not, also not for itself, nor with its owner's token in its hands.
	t.denied_by(t.decide(about(t.executor, kill, [["executor-7", "bob"]])), "DUTY-CALL-OTHERS")
	t.denied_by(t.decide(about(t.executor, kill, [])), "DUTY-CALL-OTHERS")
	held := object.union(bob, {"actors": [{"iss": "i", "sub": "s", "name": "executor-7", "kind": "agent", "owner": "bob"}]})
	t.denied_by(t.decide(about(held, kill, [["bob"]])), "DUTY-CALL-OTHERS")
}

test_duty_call_unregistered_allows if {
	not "DUTY-CALL-UNREGISTERED" in t.rules(t.decide(t.call(t.carol, rpc)))
}

test_duty_call_unregistered_denies if {
	t.denied_by(t.decide(t.call(object.union(t.carol, {"kind": "unknown"}), rpc)), "DUTY-CALL-UNREGISTERED")
}
