package twokey.duties_test

import data.twokey.testing as t

# Rules speak about their own question only: what each would say of its own, it doesn't say of another.
said(asked, patch) := found if {
	allowed := data.twokey.duties.allow with input as asked with data.twokey.config as t.config_with(patch)
	denied := data.twokey.duties.deny with input as asked with data.twokey.config as t.config_with(patch)
	obliged := data.twokey.duties.obligations with input as asked with data.twokey.config as t.config_with(patch)
	found := {why.rule | some why in (allowed | denied)} | {one.type | some one in obliged}
}

needed(asked, patch) := found if {
	found := data.twokey.duties.needs with input as asked with data.twokey.config as t.config_with(patch)
}

other(asked) := object.union(asked, {"question": "read"})

everything := {"duties": {
	"walls": walls.duties.walls,
	"cooling": cooling.duties.cooling,
	"windows": window({}).duties.windows,
	"chains": chain({}).duties.chains,
	"assignments": {"carol": ["reviewer"]},
	"review": {"role": "reviewer", "reciprocal_days": 7, "policy_author_days": 3},
}}

lately := [
	opened("bob", "other"),
	opened("bob", "rigs"),
	was("bob", "planner", 1),
	changed("carol", 1),
	approved_for("bob", "carol", 1),
]

tried_session := object.union(
	past(t.session(t.executor), lately),
	{"context": {"sessions": [live("planner", ["bob"])], "scoped": true, "scopes": []}},
)

test_duty_rules_of_sessions_say_nothing_of_other_questions if {
	mine := said(tried_session, everything)
	every rule in [
		"DUTY-SESSION", "DUTY-WALL", "DUTY-WALL-WRITE", "DUTY-COOLING", "DUTY-DYNAMIC", "DUTY-ASSIGNED", "DUTY-SCOPE",
		"DUTY-CHAIN",
		"max-duration",
	] {
		rule in mine
	}
	said(other(tried_session), everything) == set()
	at_night := other(at("2026-11-23T12:00:00Z"))
	said(at_night, everything) == set()
	needed(other(t.session(t.executor)), everything) == set()
}

test_duty_rules_of_reviews_say_nothing_of_other_questions if {
	tried := past(t.review(t.carol, t.approved), lately)
	mine := said(tried, everything)
	every rule in ["DUTY-REVIEW", "DUTY-REVIEW-RING", "DUTY-POLICY-AUTHOR", "DUTY-REVIEW-TWICE"] { rule in mine }
	said(other(tried), everything) == set()
	needed(other(t.review(t.carol, t.pending)), everything) == set()
	said(other(t.review(t.stranger, t.no_approval)), everything) == set()
}

test_duty_rules_of_calls_say_nothing_of_other_questions if {
	every asked in [
		t.call(t.carol, rpc),
		about(bob, kill, [["bob"]]),
		about(bob, kill, [["carol"]]),
		t.call(t.stranger, "twokey.nothing.v1.Service/Call"),
		explain_about(t.executor, "carol"),
		wanting(t.executor, {"role": "planner", "uses": 9}),
	] {
		count(said(asked, {})) > 0
		said(other(asked), {}) == set()
	}
}

# Who is allowed for one reason isn't for another.
test_duty_call_allows_only_the_registered_and_their_own if {
	said(t.call(object.union(t.carol, {"kind": "unknown"}), rpc), {}) == {"DUTY-CALL-UNREGISTERED"}
	not "DUTY-CALL-OWN" in said(about(object.union(bob, {"kind": "unknown"}), kill, [["bob"]]), {})
	not "DUTY-CALL-OWN" in said(about(bob, kill, [["carol"]]), {})
	not "DUTY-CALL-OWN" in said(object.union(about(bob, kill, [["bob"]]), {"resource": {"type": "connection"}}), {})
	unknown_call := t.call(t.carol, "twokey.nothing.v1.Service/Call")
	not "DUTY-CALL-OTHERS" in said(object.union(unknown_call, {"context": {"sessions": [live("executor", ["bob"])]}}), {})
}

test_duty_review_allows_nobody_else if {
	every subject in [
		object.union(t.carol, {"kind": "agent"}),
		object.union(t.carol, {"name": ""}),
		object.union(t.carol, {"roles": []}),
		object.union(t.carol, {"groups": ["finance"]}),
	] {
		not "DUTY-REVIEW" in said(t.review(subject, t.pending), {})
	}
	not "DUTY-REVIEW" in said(t.review(t.carol, object.union(t.pending, {"present": false})), {})
	not "DUTY-REVIEW-ROLE" in said(t.call(t.executor, kill), {})
	"DUTY-REVIEW-REQUESTER" in said(t.review(t.carol, object.union(t.pending, {"present": false})), {})
}

test_duty_session_allows_nobody_without_the_role if {
	not "DUTY-SESSION" in said(t.session(object.union(t.planner, {"role": "executor"})), {})
}

# Only what the past is made of counts: another act on the same object doesn't.
test_duty_history_counts_only_the_acts_that_it_names if {
	wrong := [object.union(one, {"act": "select"}) | some one in lately]
	of_session := said(past(t.session(t.executor), wrong), everything)
	count(of_session & {"DUTY-WALL", "DUTY-WALL-WRITE", "DUTY-COOLING"}) == 0
	of_review := said(past(t.review(t.carol, t.pending), wrong), everything)
	count(of_review & {"DUTY-REVIEW-RING", "DUTY-POLICY-AUTHOR"}) == 0
}

test_duty_wall_counts_only_sessions_of_the_closure if {
	elsewhere := {"context": {"sessions": [{"role": "planner", "connection": "other", "closure": ["alice"]}]}}
	count(said(object.union(past(t.session(t.executor), []), elsewhere), walls) & {"DUTY-WALL", "DUTY-WALL-WRITE"}) == 0
}

test_duty_cooling_counts_only_where_and_for_whom_it_is if {
	acts := [was("bob", "planner", 1)]
	every more in [{"connections": ["another"]}, {"environments": ["test"]}, {"roles": ["auditor"]}] {
		policy := {"duties": {"cooling": [object.union(cooling.duties.cooling[0], more)]}}
		not "DUTY-COOLING" in said(past(t.session(t.executor), acts), policy)
		needed(t.session(t.executor), policy) == set()
	}
}

test_duty_reviews_look_at_no_past_for_no_days if {
	every days in [{"reciprocal_days": 0}, {"policy_author_days": 0}] {
		policy := {"duties": {"review": object.union({"role": "reviewer"}, days)}}
		needed(t.review(t.carol, t.pending), policy) == set()
		said(past(t.review(t.carol, t.pending), lately), policy) == {"DUTY-REVIEW"}
	}
}
