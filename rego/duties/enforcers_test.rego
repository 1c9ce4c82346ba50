package twokey.duties_test

import data.twokey.testing as t

through(enforcer) := object.union(t.question("session", t.executor), {"context": {"enforcer": enforcer}})

limited(serve) := {"enforcers": {"serve": serve}}

# DUTY-ENFORCER
test_duty_enforcer_allows if {
	t.decide(through("gateway-1")).outcome == "allow" # nothing is limited as shipped
	t.decide_with(through("gateway-1"), limited({"gateway-1": ["erp", "crm"]})).outcome == "allow"
	t.decide_with(through("gateway-1"), limited({"gateway-1": ["*"]})).outcome == "allow"
	t.decide_with(through(""), limited({"gateway-1": ["erp"]})).outcome == "allow" # by the run's secret: no name
}

test_duty_enforcer_denies if {
	every serve in [{"gateway-1": ["erp"]}, {"gateway-1": []}, {"gateway-2": ["crm"]}, {"gateway-1": "crm"}] {
		t.denied_by(t.decide_with(through("gateway-1"), limited(serve)), "DUTY-ENFORCER")
	}
}

# What is done in a session is judged by what it is: the session was.
test_duty_enforcer_is_about_sessions if {
	asked := object.union(t.operation(t.executor, t.select_orders), {"context": {"enforcer": "gw-9"}})
	not "DUTY-ENFORCER" in t.rules(t.decide_with(asked, {"enforcers": {"serve": {"gw-1": ["crm"]}}}))
}
