package twokey.main_test

import data.twokey.testing as t

test_nothing_is_denied_not_undefined if {
	every asked in [{}, null, [], "x", 1, {"version": 1}, {"version": 1, "question": "operation"}] {
		decision := t.decide(asked)
		decision.outcome == "deny"
		count(decision.reasons) > 0
		decision.lease == null
	}
}

test_another_version_is_denied if {
	every version in [0, 2, "1", null] {
		asked := object.union(t.operation(t.planner, t.select_orders), {"version": version})
		t.denied_by(t.decide(asked), "MAIN-QUESTION")
	}
}

test_another_question_is_denied if {
	t.denied_by(t.decide(object.union(t.session(t.planner), {"question": "sesion"})), "MAIN-QUESTION")
}

test_no_data_is_denied if {
	decision := data.twokey.main.decision with input as t.session(t.planner) with data.twokey.config as {}
	decision.outcome == "deny"
	bare := data.twokey.main.decision with input as t.operation(t.planner, t.select_orders)
		with data.twokey.config as {"policy": {}}
	bare.outcome == "deny"
}

rank := {"deny": 0, "require-approval": 1, "mask-columns": 2, "allow": 3}

calls_table_to_xml := object.union(t.select_orders, {"functions": [object.union(
	t.function("pg_catalog", "table_to_xml"),
	{"volatility": "stable"},
)]})

reads_statistics := object.union(t.select_orders, {"relations": [object.union(
	t.relation("pg_stats", ["read"]),
	{"schema": "pg_catalog", "catalog": true},
)]})

both := t.person("bob", ["planner", "executor"], "planner", [])

test_a_missing_file_only_narrows if {
	questions := [
		t.operation(t.planner, t.select_orders),
		t.operation(t.planner, t.select_email),
		t.operation(t.planner, t.update_orders),
		t.operation(t.planner, calls_table_to_xml),
		t.operation(t.planner, reads_statistics),
		t.operation(t.planner, t.set_to("role", "postgres")),
		t.operation(t.executor, t.drop_orders),
		t.operation(t.executor, t.delete_orders),
		t.operation(t.executor, t.do_block),
		t.operation(t.stranger, t.select_orders),
		t.session(both),
		t.review(t.carol, t.approved),
		t.call(t.carol, "twokey.decision.v1.DecisionService/Decide"),
		t.call(t.carol, "twokey.approval.v1.ApprovalService/Approve"),
	]
	every asked in questions {
		before := t.decide(asked).outcome
		every name in object.keys(data.twokey.config.policy) {
			policy := object.remove(data.twokey.config.policy, [name])
			config := object.union(object.remove(t.config, ["policy"]), {"policy": policy})
			decision := data.twokey.main.decision with input as asked with data.twokey.config as config
			rank[decision.outcome] <= rank[before]
		}
	}
}

test_data_that_would_silence_a_duty_is_a_denial if {
	every patch in [
		{"duties": {"static": null}},
		{"duties": {"never_write": "planner"}},
		{"risks": {"*": {"hold_delete": "yes"}}},
		{"budgets": {"environments": {"*": {"read": null}}}},
		{"masking": {"default": null}},
	] {
		t.denied_by(t.decide_with(t.operation(t.planner, t.select_orders), patch), "MAIN-DATA")
	}
}

test_deny_overrides_everything if {
	question := t.operation(t.executor, object.union(t.delete_orders, {"verbs": ["sql.delete", "sql.drop"]}))
	decision := t.decide(question)
	t.denied_by(decision, "SQL-DROP-TRUNCATE")
	not "SQL-DELETE" in t.rules(decision)
	decision.approval == null
	decision.obligations == []
}

test_approval_overrides_masking if {
	policy := {"masking": {"clear": {"executor": []}}, "risks": {"*": {"hold": ["read"]}}}
	question := t.operation(t.executor, t.select_email)
	t.held_by(t.decide_with(question, policy), "SQL-DDL")
	approved := object.union(question, {"context": {"approval": t.approved}})
	t.decide_with(approved, policy).outcome == "mask-columns"
}

test_an_approval_permits_nothing_by_itself if {
	question := t.operation(t.executor, {"command": "X", "verbs": ["sql.system"], "opaque": true})
	approved := object.union(question, {"context": {"approval": t.approved}})
	t.decide(approved).outcome == "deny"
}

test_an_added_actor_only_narrows if {
	actors := [
		t.party("executor-7", "agent", "bob"),
		t.party("planner-1", "agent", "alice"),
		t.party("carol", "person", ""),
		t.party("x", "unknown", ""),
		t.party("y", "agent", ""),
	]
	subjects := [t.planner, t.executor, t.stranger, t.person("alice", ["executor"], "executor", [])]
	statements := [t.begin, t.select_orders, t.select_email, t.update_orders, t.delete_orders, t.drop_orders, t.do_block]
	every subject in subjects {
		every statement in statements {
			before := t.decide(t.operation(subject, statement)).outcome
			every actor in actors {
				chained := object.union(subject, {"actors": [actor], "closure": array.concat(subject.closure, [actor.name])})
				rank[t.decide(t.operation(chained, statement)).outcome] <= rank[before]
			}
		}
	}
}

test_a_description_with_holes_is_denied if {
	origin := object.remove(t.output("customers", "email").origin, ["column"])
	every patch in [
		{"columns": [object.remove(t.column("customers", "email", "other"), ["use"])]},
		{"relations": [object.remove(t.relation("orders", ["read"]), ["access"])]},
		{"functions": [object.remove(t.function("public", "f"), ["name"])]},
		{"settings": [{"name": "role"}]},
		{"output": [{"name": "x", "origin": origin, "sources": []}]},
		{"output": [object.remove(t.output("customers", "email"), ["sources"])]},
		{"output": [t.computed("x", [object.remove(t.source("customers", "email", "safe", ""), ["through"])])]},
		{"inferences": [object.remove(t.inference("customers", "email", "where", ""), ["kind"])]},
		{"inferences": null},
		{"inferences": {}},
		{"flows": {}},
		{"missing_columns": {}},
		{"column_labels": {}},
		{"flows": [object.remove(t.flow(["customers", "email"], ["orders", "note"], "update", false), ["target"])]},
		{"opaque": null},
	] {
		question := object.union(t.operation(t.executor, t.begin), {"operation": {"sql": patch}})
		t.denied_by(t.decide(question), "MAIN-QUESTION")
	}
}

test_masks_by_place_join_those_by_name if {
	placed := {"rule": "X", "reason": "x", "next": "", "output": {"position": 2, "label": "pan", "masker": {"type": "null"}}}
	question := t.operation(t.planner, t.select_email)
	decision := t.decide(question) with data.twokey.main.masks as {placed}
	decision.outcome == "mask-columns"
	t.obligation(decision, "mask-columns") == {"columns": [], "outputs": [placed.output]}
	named := t.decide(question)
	object.keys(t.obligation(named, "mask-columns")) == {"columns"}
}
