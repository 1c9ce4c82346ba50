package twokey.duties_test

import data.twokey.testing as t

act(element, name, what, connection, age) := {
	"element": element,
	"act": name,
	"object": what,
	"connection": connection,
	"age_s": age,
}

past(asked, acts) := object.union(asked, {"context": {"history": {"present": true, "acts": acts}}})

# DUTY-PAST: the shipped policy, where nothing of this is configured, asks for nothing.
test_duty_past_allows if {
	every asked in [t.session(t.executor), t.operation(t.executor, t.update_orders), t.review(t.carol, t.pending)] {
		count(data.twokey.duties.needs) == 0 with input as asked with data.twokey.config as t.config
	}
}

# DUTY-WALL, DUTY-WALL-WRITE (RB-5, P18)
walls := {"duties": {"walls": [
	{"name": "banks", "datasets": {"bank-1": ["crm", "crm-old"], "bank-2": ["other"]}, "sanitised": ["statistics"]},
	{"name": "oil", "datasets": {"oil-1": ["rigs", "statistics"]}},
]}}

opened(element, connection) := act(element, "session.open", "planner", connection, 86400000)

test_duty_past_denies if {
	decision := t.decide_with(t.session(t.planner), walls)
	decision.outcome == "deny"
	decision.needs == ["history"]
	t.rules(decision) == {"MAIN-NEEDS"}
	every policy in [rings, authors] { t.decide_with(t.review(t.carol, t.pending), policy).needs == ["history"] }
	t.decide_with(t.session(t.executor), cooling).needs == ["history"]
}

test_duty_wall_allows if {
	every acts in [[], [opened("alice", "crm")], [opened("alice", "crm-old")], [opened("alice", "elsewhere")]] {
		t.decide_with(past(t.session(t.planner), acts), walls).outcome == "allow"
	}

	# Someone else's past, and what is sanitised.
	t.decide_with(past(t.session(t.planner), [opened("bob", "other")]), walls).outcome == "allow"
	sanitised := object.union(walls, {"duties": {"walls": [object.union(walls.duties.walls[0], {"sanitised": ["other"]})]}})
	t.decide_with(past(t.session(t.planner), [opened("alice", "other")]), sanitised).outcome == "allow"

	# A connection behind no wall is opened without looking.
	free := object.union(t.session(t.planner), {"resource": {"id": "elsewhere"}})
	t.decide_with(free, walls).outcome == "allow"
}

test_duty_wall_denies if {
	decision := t.decide_with(past(t.session(t.planner), [opened("alice", "other")]), walls)
	t.denied_by(decision, "DUTY-WALL")

	# The sub-agent's, and one that is open now.
	t.denied_by(t.decide_with(past(t.session(t.planner), [opened("planner-1", "other")]), walls), "DUTY-WALL")
	now := object.union(past(t.session(t.planner), []), {"context": {"sessions": [{
		"role": "planner",
		"connection": "other",
		"closure": ["planner-9", "alice"],
	}]}})
	t.denied_by(t.decide_with(now, walls), "DUTY-WALL")
}

test_duty_wall_write_allows if {
	# Who only reads may see datasets of two classes; who writes, one that saw no other.
	t.decide_with(past(t.session(t.planner), [opened("alice", "rigs")]), walls).outcome == "allow"
	t.decide_with(past(t.session(t.executor), [opened("bob", "crm-old")]), walls).outcome == "allow"

	# Another agent of the same owner reads there too: nobody writes.
	reading := object.union(past(t.session(t.planner), []), {"context": {"sessions": [{
		"role": "planner",
		"connection": "rigs",
		"closure": ["executor-9", "alice"],
	}]}})
	t.decide_with(reading, walls).outcome == "allow"
}

test_duty_wall_write_denies if {
	decision := t.decide_with(past(t.session(t.executor), [opened("bob", "rigs")]), walls)
	t.denied_by(decision, "DUTY-WALL-WRITE")

	# Reading one more, while an agent of the same owner writes.
	writing := object.union(past(t.session(t.planner), []), {"context": {"sessions": [{
		"role": "executor",
		"connection": "rigs",
		"closure": ["executor-9", "alice"],
	}]}})
	t.denied_by(t.decide_with(writing, walls), "DUTY-WALL-WRITE")
}

# DUTY-COOLING
cooling := {"duties": {"cooling": [{"name": "hands-off", "after": ["planner"], "roles": ["executor"], "hours": 24}]}}

was(element, role, age) := act(element, "session.open", role, "anywhere", age)

test_duty_cooling_allows if {
	t.decide_with(past(t.session(t.executor), [was("bob", "planner", 86400)]), cooling).outcome == "allow"
	t.decide_with(past(t.session(t.executor), [was("bob", "executor", 1)]), cooling).outcome == "allow"
	t.decide_with(past(t.session(t.executor), [was("alice", "planner", 1)]), cooling).outcome == "allow"
	t.decide_with(t.session(t.planner), cooling).outcome == "allow"
}

test_duty_cooling_denies if {
	t.denied_by(t.decide_with(past(t.session(t.executor), [was("bob", "planner", 86399)]), cooling), "DUTY-COOLING")
	now := object.union(past(t.session(t.executor), []), {"context": {"sessions": [{
		"role": "planner",
		"connection": "x",
		"closure": ["bob"],
	}]}})
	t.denied_by(t.decide_with(now, cooling), "DUTY-COOLING")
}

# DUTY-PROCESS (RB-3): operational, object-based and history-based
steps := [
	{"name": "enter", "access": ["insert"], "relations": ["public.orders", "public.payments"]},
	{"name": "change", "access": ["update"], "relations": ["public.orders"]},
	{"name": "approve", "access": ["approve"], "relations": ["public.orders"]},
	{"name": "grant", "verbs": ["sql.grant"]},
]

process(more) := {"duties": {"processes": [object.union(
	{"name": "paying", "per": "relation", "limit": 2, "days": 30, "steps": steps},
	more,
)]}}

did(element, name, what, age) := act(element, name, what, "crm", age)

writing_orders := t.operation(t.executor, object.union(t.update_orders, {"most_rows": 1}))

test_duty_process_asks if {
	decision := t.decide_with(writing_orders, process({}))
	decision.needs == ["history"]
	decision.lease == null
	reading := t.operation(t.executor, object.union(t.select_orders, {"most_rows": 1}))
	t.decide_with(reading, process({})).needs == []
	t.decide_with(writing_orders, process({"connections": ["another"]})).needs == []
}

test_duty_process_allows if {
	every acts in [
		[],
		[did("bob", "insert", "public.orders", (30 * 86400) + 1)],
		[did("alice", "insert", "public.orders", 1)],
		[did("bob", "insert", "public.payments", 1)],
		[did("bob", "delete", "public.orders", 1)],
		[did("bob", "update", "public.orders", 1)],
		[act("bob", "insert", "public.orders", "another", 1)],
	] {
		decision := t.decide_with(past(writing_orders, acts), process({}))
		decision.outcome == "allow"
		decision.lease == null
	}

	# With three as limit, and with all steps as limit.
	acts := [did("bob", "insert", "public.orders", 1)]
	t.decide_with(past(writing_orders, acts), process({"limit": 3})).outcome == "allow"
}

test_duty_process_denies if {
	one := [did("bob", "insert", "public.orders", 30 * 86400)]
	decision := t.decide_with(past(writing_orders, one), process({}))
	t.denied_by(decision, "DUTY-PROCESS")
	some why in decision.reasons
	why.reason == "executor-7, its owner or a delegator would have done change, enter of paying"

	# Per connection: on whatever it was; per process: wherever.
	t.denied_by(
		t.decide_with(past(writing_orders, [did("bob", "insert", "public.payments", 1)]), process({"per": "connection"})),
		"DUTY-PROCESS",
	)
	elsewhere := [act("bob", "insert", "public.payments", "another", 1)]
	t.denied_by(t.decide_with(past(writing_orders, elsewhere), process({"per": "process"})), "DUTY-PROCESS")

	# Operational: nobody does all the steps.
	all := {"duties": {"processes": [{"name": "p", "per": "connection", "steps": [steps[0], steps[1]]}]}}
	t.denied_by(t.decide_with(past(writing_orders, one), all), "DUTY-PROCESS")

	# Two steps in one statement.
	both := t.operation(t.executor, object.union(t.update_orders, {
		"relations": [t.relation("orders", ["read", "update", "insert"])],
		"most_rows": 1,
	}))
	t.denied_by(t.decide_with(past(both, []), process({})), "DUTY-PROCESS")

	# A step that is a verb.
	granting := t.operation(t.executor, {"command": "GRANT", "verbs": ["sql.grant"]})
	t.denied_by(t.decide_with(past(granting, one), process({"per": "connection"})), "DUTY-PROCESS")
}

test_duty_process_denies_who_wrote_to_approve if {
	asked := object.union(t.review(t.carol, t.pending), {"operation": {"kind": "sql", "sql": object.union(t.no_sql, t.update_orders)}})
	t.decide_with(past(asked, []), process({})).outcome == "allow"
	wrote := [did("carol", "insert", "public.orders", 1)]
	t.denied_by(t.decide_with(past(asked, wrote), process({})), "DUTY-PROCESS")
	t.decide_with(past(asked, [did("carol", "insert", "public.payments", 1)]), process({})).outcome == "allow"
}

# DUTY-REVIEW-RING
rings := {"duties": {"review": {"role": "reviewer", "reciprocal_days": 7}}}

approved_for(element, other, age) := act(element, "approval.approve", other, "", age)

test_duty_review_ring_allows if {
	every acts in [
		[],
		[approved_for("carol", "bob", 1)],
		[approved_for("bob", "dave", 1)],
		[approved_for("bob", "carol", 7 * 86400)],
		[approved_for("dave", "carol", 1)],
	] {
		t.decide_with(past(t.review(t.carol, t.pending), acts), rings).outcome == "allow"
	}
}

test_duty_review_ring_denies if {
	every acts in [
		[approved_for("bob", "carol", 1)],
		[approved_for("executor-7", "carol", (7 * 86400) - 1)],
		[approved_for("bob", "dave", 1), approved_for("dave", "erin", 1), approved_for("erin", "carol", 1)],
	] {
		t.denied_by(t.decide_with(past(t.review(t.carol, t.pending), acts), rings), "DUTY-REVIEW-RING")
	}
}

# DUTY-POLICY-AUTHOR
authors := {"duties": {"review": {"role": "reviewer", "policy_author_days": 3}}}

changed(element, age) := act(element, "policy.change", "policy", "", age)

test_duty_policy_author_allows if {
	every acts in [[], [changed("bob", 1)], [changed("carol", 3 * 86400)]] {
		t.decide_with(past(t.review(t.carol, t.pending), acts), authors).outcome == "allow"
	}
}

test_duty_policy_author_denies if {
	t.denied_by(t.decide_with(past(t.review(t.carol, t.pending), [changed("carol", 1)]), authors), "DUTY-POLICY-AUTHOR")
}
