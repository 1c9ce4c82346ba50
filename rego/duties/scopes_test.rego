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
	{"present": true, "kind": "password", "connection": "crm", "role": "executor", "uses": 1},
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

# DUTY-CREDENTIAL-SSH, DUTY-CREDENTIAL-PROOF and DUTY-CREDENTIAL-COMMAND
certificate(wanted) := wanting(t.executor, object.union({"kind": "ssh-certificate", "connection": "bastion"}, wanted))

with_bastion(patch) := object.union(
	object.union(t.config, {"connections": {"bastion": {"kind": "ssh", "environment": "production"}}}),
	{"policy": patch},
)

decided(question, patch) := result if {
	result := data.twokey.main.decision with input as question with data.twokey.config as with_bastion(patch)
}

test_duty_credential_ssh_allows if {
	decided(certificate({}), {}).outcome == "allow"
}

test_duty_credential_ssh_denies if {
	t.denied_by(decided(certificate({"connection": "crm"}), {}), "DUTY-CREDENTIAL-SSH")
	t.denied_by(decided(certificate({"connection": "nowhere"}), {}), "DUTY-CREDENTIAL-SSH")
}

test_duty_credential_proof_allows if {
	decided(certificate({}), {}).outcome == "allow"
	every named in ["bastion", "*"] {
		patch := {"credentials": {"ssh": {"proof": [named]}}}
		decided(certificate({"proved": true}), patch).outcome == "allow"
	}
	decided(certificate({}), {"credentials": {"ssh": {"proof": ["crm"]}}}).outcome == "allow"
}

test_duty_credential_proof_denies if {
	every named in ["bastion", "*"] {
		patch := {"credentials": {"ssh": {"proof": [named]}}}
		t.denied_by(decided(certificate({}), patch), "DUTY-CREDENTIAL-PROOF")
	}
}

only_uptime := {"credentials": {"ssh": {"commands": {"bastion": {"executor": "uptime"}}}}}

test_duty_credential_command_allows if {
	decided(certificate({"command": "uptime"}), only_uptime).outcome == "allow"
	decided(certificate({"command": "anything"}), {}).outcome == "allow"
}

test_duty_credential_command_denies if {
	t.denied_by(decided(certificate({}), only_uptime), "DUTY-CREDENTIAL-COMMAND")
	t.denied_by(decided(certificate({"command": "uptime; sh"}), only_uptime), "DUTY-CREDENTIAL-COMMAND")
}
