package twokey.duties_test

import data.twokey.testing as t

evaluate := "twokey.authzen.v1.Access/Evaluate"

application := object.union(t.executor, {"roles": ["application"], "role": ""})

# DUTY-SCOPE-ACCESS
test_duty_scope_access_allows if {
	t.decide(t.call(application, evaluate)).outcome == "allow"
	every scope in ["twokey:access:evaluate", "twokey:access:*", "twokey:*:evaluate", "twokey:*:*"] {
		t.decide(scoped(t.call(application, evaluate), ["twokey:crm:plan", scope])).outcome == "allow"
	}
}

test_duty_scope_access_denies if {
	wrong := [[], ["twokey:crm:execute"], ["twokey:access:execute"], ["other:access:evaluate"], ["twokey:crm:evaluate"], ["twokey:access"]]
	every scopes in wrong {
		t.denied_by(t.decide(scoped(t.call(application, evaluate), scopes)), "DUTY-SCOPE-ACCESS")
	}
	every name in [concat("", ["/", evaluate]), "twokey.authzen.v1.Access/Other"] {
		t.denied_by(t.decide(scoped(t.call(application, name), [])), "DUTY-SCOPE-ACCESS")
	}
}

test_duty_scope_access_is_about_its_own_calls if {
	t.decide(scoped(t.call(t.carol, "twokey.approval.v1.ApprovalService/Approve"), [])).outcome == "allow"
}
