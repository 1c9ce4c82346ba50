# METADATA
# title: Fixtures
# description: Questions for tests, built from the smallest complete one. The policy data is the shipped data.
package twokey.testing

people := {
	"principals": [{"name": "alice"}, {"name": "bob"}, {"name": "carol"}],
	"agents": [{"name": "planner-1", "owner": "alice"}, {"name": "executor-7", "owner": "bob"}],
}

classification := {"crm": {"public.customers.email": "email", "public.cards.pan": "pan"}}

config := object.union(data.twokey.config, {"people": people, "classification": classification})

# data.twokey.config with other policy data: patch is merged over the shipped files.
config_with(patch) := object.union(config, {"policy": patch})

party(name, kind, owner) := {"iss": "https://idp.example.com", "sub": name, "name": name, "kind": kind, "owner": owner}

person(name, roles, role, groups) := object.union(party(name, "person", ""), {
	"groups": groups,
	"roles": roles,
	"role": role,
	"actors": [],
	"closure": [name],
	"acting_closure": [name],
})

agent(name, owner, role) := object.union(party(name, "agent", owner), {
	"groups": [],
	"roles": [role],
	"role": role,
	"actors": [],
	"closure": [name, owner],
	"acting_closure": [name, owner],
})

planner := agent("planner-1", "alice", "planner")

executor := agent("executor-7", "bob", "executor")

stranger := object.union(agent("x", "", "planner"), {"kind": "unknown", "name": "", "closure": ["[\"i\",\"x\"]"]})

carol := person("carol", ["reviewer"], "", ["dba"])

no_approval := {
	"present": false,
	"id": "",
	"requester_closure": [],
	"requester_acting_closure": [],
	"verdicts": [],
	"groups": [],
	"quorum": 0,
	"rules": [],
}

pending := {
	"present": true,
	"id": "apr_1",
	"requester_closure": ["bob", "executor-7"],
	"requester_acting_closure": ["bob", "executor-7"],
	"verdicts": [],
	"groups": ["dba"],
	"quorum": 1,
	"rules": ["SQL-DELETE"],
}

verdict(name) := {
	"name": name,
	"kind": "person",
	"approve": true,
	"closure": [name],
	"groups": ["dba"],
	"in_people": true,
	"revoked": false,
	"age_s": 0,
}

approved := object.union(pending, {"verdicts": [verdict("carol")]})

no_sql := {
	"command": "",
	"verbs": [],
	"opaque": false,
	"opaque_reasons": [],
	"relations": [],
	"columns": [],
	"functions": [],
	"settings": [],
	"output": [],
	"inferences": [],
	"flows": [],
	"column_labels": [],
	"target_labels": [],
	"missing_columns": [],
	"literals": [],
	"servers": [],
	"has_where": false,
	"most_rows": 0,
	"returns_rows": false,
	"transaction": {"status": "idle", "written": false, "read_only": false, "isolation": ""},
	"position": 0,
	"statements": 1,
	"not_covered": [],
	"search_path": ["public"],
	"effective_role": "crm_app",
}

no_values := {
	"present": false,
	"statement": "",
	"bound": [],
	"estimate": {"state": "absent", "rows": 0, "cost": 0, "why": ""},
}

values(state, rows) := {
	"present": true,
	"statement": "…",
	"bound": [],
	"estimate": {"state": state, "rows": rows, "cost": 1, "why": ""},
}

question(kind, subject) := {
	"version": 1,
	"question": kind,
	"subject": subject,
	"action": {"name": "", "verbs": []},
	"resource": {"type": "connection", "id": "crm", "kind": "postgres", "environment": "production", "subject": ""},
	"operation": {"kind": "", "id": "", "digest": "", "shape_digest": "", "sql": no_sql},
	"values": no_values,
	"context": {
		"time": "2026-11-22T12:00:00.000000Z",
		"time_ns": 1795348800000000000,
		"can_hold": true,
		"approval": no_approval,
		"sessions": [],
		"scopes": [],
		"scoped": false,
		"credential": {
			"present": false,
			"kind": "",
			"connection": "",
			"role": "",
			"uses": 0,
			"proved": false,
			"command": "",
		},
		"enforcer": "",
		"reason": "",
		"budgets": {"present": false, "used": []},
		"history": {"present": false, "acts": []},
		"authentication": {"acr": "", "age_s": -1},
		"requests": {"present": false, "live": 0, "hour": 0, "refused": 0},
		"plan": no_plan,
	},
}

no_plan := {
	"present": false,
	"id": "",
	"step": 0,
	"steps": 0,
	"fits": false,
	"expects": "",
	"requester_closure": [],
	"requester_acting_closure": [],
	"executor_closure": [],
	"rows_least": -1,
	"rows_most": -1,
}

# The second of three steps of planner-1's plan.
planned := object.union(no_plan, {
	"present": true,
	"id": "pln_1",
	"step": 2,
	"steps": 3,
	"fits": true,
	"requester_closure": ["planner-1", "alice"],
	"requester_acting_closure": ["planner-1", "alice"],
	"executor_closure": ["executor-7", "bob"],
})

operation(subject, sql) := object.union(question("operation", subject), {
	"action": {"name": sql.verbs[0], "verbs": sql.verbs},
	"operation": {"kind": "sql", "sql": object.union(no_sql, sql)},
})

session(subject) := object.union(question("session", subject), {"action": {"name": "session.open"}})

review(subject, approval) := object.union(question("review", subject), {"context": {"approval": approval}})

request(subject, counts) := object.union(question("request", subject), {"context": {"requests": object.union({"present": true}, counts)}})

call(subject, rpc) := object.union(question("call", subject), {
	"action": {"name": rpc},
	"resource": {"type": "rpc", "id": rpc, "kind": "", "environment": "", "subject": ""},
})

relation(name, access) := {
	"schema": "public",
	"name": name,
	"oid": 16400,
	"kind": "table",
	"access": access,
	"via": "direct",
	"temporary": false,
	"catalog": false,
}

column(table, name, use) := {"schema": "public", "relation": table, "column": name, "use": use}

output(table, name) := {
	"name": name,
	"origin": {"schema": "public", "relation": table, "column": name, "relation_oid": 16400, "attribute": 1},
	"sources": [source(table, name, "copy", "")],
}

source(table, name, through, tells) := {
	"schema": "public",
	"relation": table,
	"column": name,
	"through": through,
	"function": tells,
}

# An output column that is no copy.
computed(name, sources) := {"name": name, "origin": null, "sources": sources}

inference(table, name, kind, tells) := {
	"schema": "public",
	"relation": table,
	"column": name,
	"kind": kind,
	"function": tells,
}

flow(from, to, kind, temporary) := {
	"source": object.remove(column(from[0], from[1], ""), ["use"]),
	"target": object.remove(column(to[0], to[1], ""), ["use"]),
	"kind": kind,
	"through": "copy",
	"temporary": temporary,
	"carried": false,
}

function(schema, name) := {
	"schema": schema,
	"name": name,
	"oid": 1,
	"volatility": "volatile",
	"language": "internal",
	"security_definer": false,
	"leakproof": false,
	"safe": false,
	"via": "direct",
}

setting(name, action, value) := {"name": name, "action": action, "value": value}

# SELECT id FROM public.orders WHERE …
select_orders := {
	"command": "SELECT",
	"verbs": ["sql.select"],
	"relations": [relation("orders", ["read"])],
	"columns": [column("orders", "id", "output")],
	"output": [output("orders", "id")],
	"returns_rows": true,
}

# SELECT email FROM public.customers
select_email := object.union(select_orders, {
	"relations": [relation("customers", ["read"])],
	"columns": [column("customers", "email", "output")],
	"output": [output("customers", "email")],
})

# UPDATE public.orders SET status = … WHERE …
update_orders := {
	"command": "UPDATE",
	"verbs": ["sql.update"],
	"relations": [relation("orders", ["read", "update"])],
	"columns": [column("orders", "status", "write"), column("orders", "id", "other")],
	"has_where": true,
}

# DELETE FROM public.orders WHERE …
delete_orders := {
	"command": "DELETE",
	"verbs": ["sql.delete"],
	"relations": [relation("orders", ["read", "delete"])],
	"columns": [column("orders", "id", "other")],
	"has_where": true,
}

drop_orders := {
	"command": "DROP TABLE",
	"verbs": ["sql.drop"],
	"relations": [relation("orders", ["ddl"])],
}

begin := {"command": "BEGIN", "verbs": ["sql.transaction"]}

set_to(name, value) := {"command": "SET", "verbs": ["sql.set"], "settings": [setting(name, "set", value)]}

do_block := {
	"command": "DO",
	"verbs": ["sql.do"],
	"opaque": true,
	"opaque_reasons": [{"code": "do-block", "detail": "a DO block in plpgsql"}],
}

decide(asked) := answer if {
	answer := data.twokey.main.decision with input as asked with data.twokey.config as config
}

decide_with(asked, policy) := answer if {
	answer := data.twokey.main.decision with input as asked with data.twokey.config as config_with(policy)
}

rules(decision) := {reason.rule | some reason in decision.reasons}

denied_by(decision, rule) if {
	decision.outcome == "deny"
	rule in rules(decision)
}

held_by(decision, rule) if {
	decision.outcome == "require-approval"
	rule in rules(decision)
}

obligation(decision, kind) := one.parameters if {
	some one in decision.obligations
	one.type == kind
}
