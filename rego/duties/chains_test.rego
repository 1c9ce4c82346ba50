package twokey.duties_test

import data.twokey.testing as t

chain(more) := {"duties": {"chains": [object.union({"name": "on behalf", "roles": ["executor"]}, more)]}}

for_somebody := t.session(object.union(t.executor, {"actors": [t.party("executor-7", "agent", "bob")]}))

test_duty_chain_allows if {
	t.decide_with(for_somebody, chain({})).outcome == "allow"

	# Who and what it isn't for.
	every other in [{"roles": ["planner"]}, {"environments": ["test"]}, {"connections": ["x"]}, {"labels": ["salary"]}] {
		t.decide_with(t.session(t.executor), chain(other)).outcome == "allow"
	}
	t.decide(t.session(t.executor)).outcome == "allow"
}

test_duty_chain_denies if {
	every named in [
		{},
		{"roles": ["planner", "executor"]},
		{"roles": ["*"], "environments": ["production"], "connections": ["crm"], "labels": ["pan"]},
	] {
		t.denied_by(t.decide_with(t.session(t.executor), chain(named)), "DUTY-CHAIN")
	}
	anybody := {"duties": {"chains": [{"name": "on behalf"}]}}
	t.denied_by(t.decide_with(t.session(t.executor), anybody), "DUTY-CHAIN")
}
