package twokey.obligations_test

import data.twokey.testing as t

attached := {"obligations": {
	"session": [{"name": "short", "roles": ["executor"], "type": "max-duration", "parameters": {"ms": 60000}}],
	"act": [
		{"name": "why", "roles": ["executor"], "groups": ["write"], "type": "require-reason"},
		{"name": "little", "environments": ["production"], "groups": ["read"], "type": "max-bytes", "parameters": {"bytes": 1000}},
		{"name": "elsewhere", "connections": ["other"], "type": "max-rows", "parameters": {"rows": 1}},
	],
}}

nothing := {"obligations": {"session": [], "act": []}}

known(question) := object.union(question, {"values": t.values("known", 1)})

with_reason(question, reason) := object.union(question, {"context": {"reason": reason}})

reads := t.operation(t.planner, t.select_orders)

writes := known(t.operation(t.executor, t.update_orders))

# OBLIGATION-ATTACHED
test_obligation_attached_allows if {
	not t.obligation(t.decide_with(reads, nothing), "max-bytes")
	not t.obligation(t.decide_with(reads, attached), "require-reason")
	not t.obligation(t.decide_with(t.session(t.planner), attached), "max-duration")
	every other in [
		object.union(reads, {"resource": {"environment": "staging"}}),
		object.union(with_reason(writes, "x"), {"resource": {"environment": "staging"}}),
	] {
		not t.obligation(t.decide_with(other, attached), "max-bytes")
	}
	t.decide_with(t.operation(t.planner, t.begin), attached).obligations == []
}

test_obligation_attached_denies if {
	t.obligation(t.decide_with(reads, attached), "max-bytes") == {"bytes": 1000}
	t.obligation(t.decide_with(t.session(t.executor), attached), "max-duration") == {"ms": 60000}
	every entry in [{"type": "max-bytes", "parameters": {"bytes": 7}}, {
		"roles": ["*"],
		"environments": ["*"],
		"connections": ["*"],
		"groups": ["*"],
		"type": "max-bytes",
		"parameters": {"bytes": 7},
	}] {
		policy := {"obligations": {"session": [], "act": [entry]}}
		t.obligation(t.decide_with(reads, policy), "max-bytes") == {"bytes": 7}
	}
	at := object.union(reads, {"resource": {"id": "other"}})
	{rows | some one in t.decide_with(at, attached).obligations; one.type == "max-rows"; rows := one.parameters.rows} == {1, 1000}
}

# OBLIGATION-REASON
test_obligation_reason_allows if {
	decision := t.decide_with(with_reason(writes, "ticket 12"), attached)
	decision.outcome == "allow"
	t.obligation(decision, "require-reason") == {}
	t.decide_with(reads, attached).outcome == "allow"
	t.decide_with(t.operation(t.executor, t.begin), attached).outcome == "allow"
}

test_obligation_reason_denies if {
	every reason in ["", " ", "\t\n"] {
		decision := t.decide_with(with_reason(writes, reason), attached)
		t.denied_by(decision, "OBLIGATION-REASON")
		some why in decision.reasons
		why.next == "SET twokey.reason = 'why'"
	}

	# What would be held is denied too: the reviewer is to see the reason.
	t.denied_by(t.decide_with(t.operation(t.executor, t.delete_orders), attached), "OBLIGATION-REASON")
	t.held_by(t.decide_with(with_reason(t.operation(t.executor, t.delete_orders), "x"), attached), "SQL-DELETE")
}

test_a_verb_in_no_group_is_in_every_entrys if {
	odd := object.union(t.update_orders, {"verbs": ["sql.large-object"]})
	t.denied_by(t.decide_with(t.operation(t.executor, odd), attached), "OBLIGATION-REASON")
}

test_an_answer_to_a_reason_is_not_leased if {
	t.decide(reads).lease != null
	t.decide(with_reason(reads, "x")).lease == null
}

test_without_the_reason_the_question_is_not_whole if {
	bare := json.remove(reads, ["/context/reason"])
	t.denied_by(t.decide(bare), "MAIN-QUESTION")
}
