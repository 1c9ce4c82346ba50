package twokey.duties_test

import data.twokey.testing as t

# DUTY-WALL-INSIDE, DUTY-WALL-CARRY (RB-5, P18): datasets by relation, by schema and by label.
inner(more) := {"duties": {"inner_walls": [object.union(
	{
		"name": "clients",
		"datasets": {
			"bank-1": {"relations": ["public.orders", "bank1.*"]},
			"bank-2": {"relations": ["public.payments"], "labels": ["pan"]},
		},
		"sanitised": ["public.rates"],
	},
	more,
)]}}

reading(name) := t.operation(t.executor, object.union(t.select_orders, {
	"relations": [t.relation(name, ["read"])],
	"columns": [],
	"output": [],
	"most_rows": 1,
}))

writing(name, others) := t.operation(t.executor, object.union(t.update_orders, {
	"relations": array.concat([t.relation(name, ["update"])], [t.relation(other, ["read"]) | some other in others]),
	"most_rows": 1,
}))

test_duty_wall_inside_asks if {
	every asked in [reading("orders"), reading("payments"), reading("cards"), writing("elsewhere", [])] {
		t.decide_with(asked, inner({})).needs == ["history"]
	}
	every asked in [reading("rates"), reading("elsewhere")] {
		t.decide_with(asked, inner({})).needs == []
		t.decide_with(asked, inner({})).outcome == "allow"
	}
	t.decide_with(reading("orders"), {}).needs == []
}

test_duty_wall_inside_allows if {
	every acts in [
		[],
		[did("bob", "read", "public.orders", 1)],
		[did("bob", "read", "bank1.x", 1)],
		[did("bob", "read", "public.rates", 1)],
		[did("bob", "sql.select", "public.payments", 1)],
		[did("alice", "read", "public.payments", 1)],
	] {
		t.decide_with(past(reading("orders"), acts), inner({})).outcome == "allow"
	}

	# Where the wall is not: another environment, another connection, or a connection without such a label.
	seen := [did("bob", "read", "public.payments", 1)]
	every more in [{"environments": ["test"]}, {"connections": ["another"]}, {"labels": ["another"]}] {
		t.decide_with(past(reading("orders"), seen), inner(more)).outcome == "allow"
	}
	elsewhere := [act("bob", "read", "public.payments", "another", 1)]
	t.decide_with(past(reading("orders"), elsewhere), inner({"connections": ["crm"]})).outcome == "allow"

	# What is sanitised is read by both.
	t.decide_with(past(reading("rates"), seen), inner({})).outcome == "allow"
}

test_duty_wall_inside_denies if {
	every acts in [
		[did("bob", "read", "public.payments", 1)],
		[did("executor-7", "delete", "public.payments", 86400000)],
		[did("bob", "read", "public.cards", 1)],
		[act("bob", "read", "public.payments", "another", 1)],
	] {
		decision := t.decide_with(past(reading("orders"), acts), inner({}))
		t.denied_by(decision, "DUTY-WALL-INSIDE")
	}
	orders := [did("bob", "read", "bank1.accounts", 1)]
	every name in ["payments", "cards"] {
		t.denied_by(t.decide_with(past(reading(name), orders), inner({})), "DUTY-WALL-INSIDE")
	}
	every more in [{"environments": ["production"]}, {"connections": ["crm"]}, {"labels": ["pan"]}] {
		t.denied_by(t.decide_with(past(reading("payments"), orders), inner(more)), "DUTY-WALL-INSIDE")
	}

	# Both sides in one statement, and what can't be seen through.
	both := writing("orders", ["payments"])
	t.denied_by(t.decide_with(past(both, []), inner({})), "DUTY-WALL-INSIDE")
	opaque := t.operation(t.executor, object.union(t.select_orders, {"opaque": true, "relations": []}))
	t.denied_by(t.decide_with(opaque, inner({})), "DUTY-WALL-INSIDE")
}

test_duty_wall_carry_allows if {
	every acts in [[], [did("bob", "read", "public.orders", 1)]] {
		t.decide_with(past(writing("orders", []), acts), inner({})).outcome == "allow"
	}
	t.decide_with(past(writing("elsewhere", []), [did("alice", "read", "public.orders", 1)]), inner({})).outcome == "allow"

	# A session's own temporary table is nobody else's.
	temporary := object.union(t.relation("x", ["insert"]), {"schema": "pg_temp_3", "temporary": true})
	own := t.operation(t.executor, object.union(t.update_orders, {"relations": [temporary], "most_rows": 1}))
	t.decide_with(past(own, [did("bob", "read", "public.orders", 1)]), inner({})).outcome == "allow"
}

test_duty_wall_carry_denies if {
	seen := [did("bob", "read", "public.orders", 1)]
	every name in ["elsewhere", "rates", "payments"] {
		t.denied_by(t.decide_with(past(writing(name, []), seen), inner({})), "DUTY-WALL-CARRY")
		t.denied_by(t.decide_with(past(writing(name, ["orders"]), []), inner({})), "DUTY-WALL-CARRY")
	}
	decision := t.decide_with(past(writing("elsewhere", []), seen), inner({}))
	some why in decision.reasons
	why.reason == "executor-7, its owner or a delegator could carry what it saw in bank-1 to public.elsewhere"
}
