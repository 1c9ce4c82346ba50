package twokey.sql_test

import data.twokey.testing as t

far(subject, access) := sql(t.operation(subject, t.select_orders), {
	"relations": [object.union(t.relation("far", ["read"]), {"kind": "foreign-table"})],
	"columns": [],
	"output": [],
	"servers": [{"name": "billing", "wrapper": "postgres_fdw", "access": access}],
})

listed(access) := {"unseen": {"servers": {"crm": {"billing": access}}}}

masked_executor := {"masking": {"clear": {"executor": []}}}

# SQL-SERVER-DENIED
test_sql_server_denied_allows if {
	t.decide_with(far(t.planner, ["read"]), listed(["read"])).outcome == "allow"
	t.decide_with(far(t.planner, ["read"]), listed(["read", "write"])).outcome == "allow"
	not "SQL-SERVER-DENIED" in t.rules(t.decide(far(t.executor, ["read"])))
}

test_sql_server_denied_denies if {
	t.denied_by(t.decide(far(t.planner, ["read"])), "SQL-SERVER-DENIED")
	t.denied_by(t.decide_with(far(t.planner, ["read", "write"]), listed(["read"])), "SQL-SERVER-DENIED")
	t.denied_by(t.decide_with(far(t.planner, ["read"]), listed(["define"])), "SQL-SERVER-DENIED")
	t.denied_by(t.decide_with(far(t.planner, ["read"]), {"unseen": {"servers": {"other": {"billing": ["read"]}}}}), "SQL-SERVER-DENIED")
	t.denied_by(t.decide_with(far(t.planner, ["read"]), {"unseen": {"servers": {"crm": {"other": ["read"]}}}}), "SQL-SERVER-DENIED")
	t.denied_by(t.decide_with(far(t.planner, ["read"]), {"unseen": null}), "SQL-SERVER-DENIED")

	# A role that sees a label masked, though its opaque acts are held.
	t.denied_by(t.decide_with(far(t.executor, ["write"]), masked_executor), "SQL-SERVER-DENIED")
	approved := t.decide_with(with_approval(far(t.executor, ["write"]), t.approved), masked_executor)
	t.denied_by(approved, "SQL-SERVER-DENIED")
}

# SQL-SERVER
test_sql_server_allows if {
	not "SQL-SERVER" in t.rules(t.decide_with(far(t.executor, ["read"]), listed(["read"])))
	t.decide(with_approval(far(t.executor, ["read"]), t.approved)).outcome == "allow"
}

test_sql_server_denies if {
	decision := t.decide(far(t.executor, ["read"]))
	t.held_by(decision, "SQL-SERVER")
	decision.needs == [] # nobody asks that server for an estimate
	t.held_by(t.decide_with(far(t.executor, ["read", "write"]), listed(["read"])), "SQL-SERVER")
}

test_every_server_counts if {
	two := sql(far(t.planner, []), {"servers": [
		{"name": "billing", "wrapper": "postgres_fdw", "access": ["read"]},
		{"name": "files", "wrapper": "file_fdw", "access": ["read"]},
	]})
	decision := t.decide_with(two, listed(["read"]))
	some reason in decision.reasons
	reason.rule == "SQL-SERVER-DENIED"
	reason.reason == "SELECT would happen at another server, where nobody sees it: read at files (file_fdw)"
}

# What is opaque for reasons that the data lists
opaquely(subject, reasons) := sql(t.operation(subject, t.select_orders), {
	"opaque": true,
	"opaque_reasons": reasons,
	"columns": [],
	"output": [],
})

total := {"code": "procedural-function", "detail": "public.total()"}

listing := {"unseen": {"reasons": {"crm": ["procedural-function: public.total()", "unresolved: x", "remote: dblink()"]}}}

test_what_is_listed_is_no_longer_denied_for_being_opaque if {
	t.decide_with(opaquely(t.planner, [total]), listing).outcome == "allow"
	t.decide_with(opaquely(t.planner, [total, {"code": "remote", "detail": "dblink()"}]), listing).outcome == "allow"
	t.decide_with(opaquely(t.planner, [total]), listing).lease == null
}

test_what_is_not_listed_whole_is_denied if {
	every reasons in [[], [{"code": "procedural-function", "detail": "public.other()"}], [total, {"code": "untrusted-function", "detail": "public.total()"}]] {
		decision := t.decide_with(opaquely(t.planner, reasons), listing)
		t.denied_by(decision, "SQL-OPAQUE-DENIED")
		t.denied_by(decision, "MASK-OPAQUE")
	}
}

# That nobody knows what it means can't be vouched for.
test_what_names_nothing_can_not_be_listed if {
	t.denied_by(t.decide_with(opaquely(t.planner, [{"code": "unresolved", "detail": "x"}]), listing), "MASK-OPAQUE")
}

test_another_connections_list_counts_for_nothing if {
	other := {"unseen": {"reasons": {"other": ["procedural-function: public.total()"]}}}
	t.denied_by(t.decide_with(opaquely(t.planner, [total]), other), "MASK-OPAQUE")
	t.denied_by(t.decide_with(opaquely(t.planner, [total]), {"unseen": null}), "SQL-OPAQUE-DENIED")
}
