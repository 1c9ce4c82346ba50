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

# DUTY-KEEP
kept(subject) := object.union(t.session(subject), {"action": {"name": "session.keep"}})

test_duty_keep_allows if {
	every subject in [t.planner, t.executor, t.person("dora", ["executor"], "executor", [])] { t.decide(kept(subject)).outcome == "allow" }
	every subject in unregistered { t.decide(t.session(subject)).outcome == "allow" }
}

test_duty_keep_denies if {
	every subject in unregistered { t.denied_by(t.decide(kept(subject)), "DUTY-KEEP") }
	not "DUTY-KEEP" in t.rules(t.decide(object.union(kept(t.stranger), {"question": "review"})))
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

test_duty_unregistered_denies_what_its_role_could_do_registered if {
	unknown := object.union(t.executor, {"kind": "unknown"})
	every statement in [
		t.set_to("search_path", "app"),
		object.union(t.begin, {"functions": [t.function("public", "f")]}),
		object.union(t.begin, {"columns": [t.column("customers", "email", "other")]}),
		object.union(t.begin, {"relations": [t.relation("orders", ["read"])]}),
	] {
		t.denied_by(t.decide(t.operation(unknown, statement)), "DUTY-UNREGISTERED")
	}
}

# Hierarchies (RB-1): a role brings those it inherits.
hierarchy := {"duties": {"hierarchy": {"chief": ["lead"], "lead": ["planner"]}}}

test_duty_static_counts_what_is_inherited if {
	chief := t.person("bob", ["chief", "executor"], "executor", [])
	t.decide(t.session(chief)).outcome == "allow"
	t.denied_by(t.decide_with(t.session(chief), hierarchy), "DUTY-STATIC")
	alone := t.person("bob", ["executor", "auditor"], "executor", [])
	t.decide_with(t.session(alone), hierarchy).outcome == "allow"
}

test_duty_dynamic_counts_what_is_inherited if {
	asked := with_live(t.executor, [live("chief", ["bob"])])
	t.decide(asked).outcome == "allow"
	t.denied_by(t.decide_with(asked, hierarchy), "DUTY-DYNAMIC")
}

# Conditions
test_duty_static_counts_where_its_conditions_hold if {
	both := t.person("bob", ["planner", "executor"], "planner", [])
	every where in [{"environments": ["test"]}, {"connections": ["other"]}, {"labels": ["salary"]}] {
		sets := [object.union({"name": "p", "roles": ["planner", "executor"], "limit": 2}, where)]
		t.decide_with(t.session(both), {"duties": {"static": sets}}).outcome == "allow"
	}
	every where in [
		{"environments": ["production"]},
		{"environments": ["*"]},
		{"connections": ["crm"]},
		{"labels": ["salary", "pan"]},
	] {
		sets := [object.union({"name": "p", "roles": ["planner", "executor"], "limit": 2}, where)]
		t.denied_by(t.decide_with(t.session(both), {"duties": {"static": sets}}), "DUTY-STATIC")
	}
}

test_duty_dynamic_counts_where_its_conditions_hold if {
	asked := with_live(t.executor, [live("planner", ["bob"])])
	set := {"name": "p", "roles": ["planner", "executor"], "limit": 2}
	elsewhere := {"duties": {"dynamic": [object.union(set, {"connections": ["other"]})]}}
	t.decide_with(asked, elsewhere).outcome == "allow"
	here := {"duties": {"dynamic": [object.union(set, {"connections": ["crm"]})]}}
	t.denied_by(t.decide_with(asked, here), "DUTY-DYNAMIC")
}

# DUTY-ASSIGNED
assigned := {"duties": {
	"assignments": {"planner-1": ["lead"], "carol": ["reviewer"], "bob": ["executor"]},
	"hierarchy": {"lead": ["planner"]},
}}

test_duty_assigned_allows if {
	t.decide_with(t.session(t.planner), assigned).outcome == "allow"
	t.decide_with(t.review(t.carol, t.pending), assigned).outcome == "allow"
	t.decide_with(t.operation(t.executor, t.begin), assigned).outcome == "allow"
}

test_duty_assigned_denies if {
	t.denied_by(t.decide_with(t.session(t.executor), assigned), "DUTY-ASSIGNED")
	t.denied_by(t.decide_with(t.session(t.stranger), assigned), "DUTY-ASSIGNED")
	dave := t.person("dave", ["reviewer"], "", ["dba"])
	t.denied_by(t.decide_with(t.review(dave, t.pending), assigned), "DUTY-ASSIGNED")
}
