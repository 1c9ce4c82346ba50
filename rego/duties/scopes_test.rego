package twokey.duties_test

import data.twokey.testing as t

scoped(question, scopes) := object.union(question, {"context": {"scoped": true, "scopes": scopes}})

opening(subject) := t.question("session", subject)

# DUTY-SCOPE
test_duty_scope_allows if {
	t.decide(opening(t.executor)).outcome == "allow"
	every scope in ["twokey:crm:execute", "twokey:crm:*", "twokey:*:execute", "twokey:*:*"] {
		t.decide(scoped(opening(t.executor), [scope])).outcome == "allow"
	}
	t.decide(scoped(opening(t.planner), ["twokey:erp:execute", "twokey:crm:plan"])).outcome == "allow"
}

test_duty_scope_denies if {
	wrong := [[], ["twokey:erp:execute"], ["twokey:crm:plan"], ["twokey:crm:executor"], ["other:crm:execute"], ["twokey:crm"]]
	every scopes in wrong {
		t.denied_by(t.decide(scoped(opening(t.executor), scopes)), "DUTY-SCOPE")
	}
}

test_duty_scope_of_a_role_of_ones_own if {
	auditor := object.union(t.executor, {"roles": ["checker"], "role": "checker"})
	with_role := {"roles": {"checker": {"connect": true}}}
	t.decide_with(scoped(opening(auditor), ["twokey:crm:checker"]), with_role).outcome == "allow"
	t.denied_by(t.decide_with(scoped(opening(auditor), ["twokey:crm:execute"]), with_role), "DUTY-SCOPE")
}

# DUTY-CREDENTIAL and DUTY-CREDENTIAL-USES
issue := "twokey.decision.v1.DecisionService/IssueSessionCredential"

wanting(subject, wanted) := object.union(t.call(subject, issue), {"context": {"credential": object.union(
	{"present": true, "connection": "crm", "role": "executor", "uses": 1},
	wanted,
)}})

test_duty_credential_allows if {
	t.decide(wanting(t.executor, {})).outcome == "allow"
	t.decide(scoped(wanting(t.executor, {}), ["twokey:crm:execute"])).outcome == "allow"
}

test_duty_credential_denies if {
	t.denied_by(t.decide(wanting(t.executor, {"role": "planner"})), "DUTY-CREDENTIAL")
	t.denied_by(t.decide(scoped(wanting(t.executor, {}), ["twokey:erp:execute"])), "DUTY-CREDENTIAL")
	both := object.union(t.executor, {"roles": ["executor", "reviewer"]})
	t.denied_by(t.decide(wanting(both, {"role": "reviewer"})), "DUTY-CREDENTIAL")
}

test_duty_credential_uses_allows if {
	grant := {"credentials": {"uses": {"crm": {"executor": 4}}}}
	t.decide_with(wanting(t.executor, {"uses": 4}), grant).outcome == "allow"
	t.decide_with(wanting(t.executor, {"uses": 2}), {"credentials": {"uses": {"*": {"executor": 2}}}}).outcome == "allow"
}

test_duty_credential_uses_denies if {
	t.denied_by(t.decide(wanting(t.executor, {"uses": 2})), "DUTY-CREDENTIAL-USES")
	grant := {"credentials": {"uses": {"crm": {"executor": 4}}}}
	t.denied_by(t.decide_with(wanting(t.executor, {"uses": 5}), grant), "DUTY-CREDENTIAL-USES")
	t.denied_by(t.decide_with(wanting(t.executor, {"connection": "erp", "uses": 2}), grant), "DUTY-CREDENTIAL-USES")
}
