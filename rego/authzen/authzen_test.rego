package twokey.authzen_test

import data.twokey.main
import data.twokey.testing

data_with := testing.config_with({"authzen": {
	"callers": {"app": {"types": ["todo", "own", "sql"], "subjects": ["user", "agent", "group"]}},
	"types": {
		"todo": {
			"allow": {"read": ["carol"], "purge": ["carol"], "delete": ["carol"]},
			"never": ["purge"],
			"approve": ["delete"],
			"obligations": {"read": [{"type": "require-reason"}]},
		},
		"own": {"never": ["purge"], "approve": ["delete"]},
	},
}})

asked(subject, kind, action, entrypoint) := {
	"version": 1,
	"question": "access",
	"subject": subject,
	"action": {"name": action, "verbs": []},
	"resource": {"type": "access", "id": "1", "kind": kind, "environment": "", "subject": ""},
	"access": {"caller": "app", "subject_type": "user", "entrypoint": entrypoint},
	"context": {"time": "2026-01-01T00:00:00.000000Z", "time_ns": 0, "sessions": [], "credential": {"present": false}, "approval": testing.no_approval},
}

none := {"present": false, "decision": false}

yes := {"present": true, "decision": true}

no := {"present": true, "decision": false}

decide(question) := decision if {
	decision := main.decision with input as question with data.twokey.config as data_with
}

rules(question) := {reason.rule | some reason in decide(question).reasons}

outcome(question) := decide(question).outcome

# AUTHZEN-GRANT
test_authzen_grant_allows if outcome(asked(testing.carol, "todo", "read", none)) == "allow"

test_authzen_grant_denies if {
	outcome(asked(testing.carol, "todo", "write", none)) == "deny"
	outcome(asked(testing.stranger, "todo", "read", none)) == "deny"
	every kind in ["agent", "group"] {
		of_another_type := object.union(asked(testing.carol, "todo", "read", none), {"access": {"subject_type": kind}})
		outcome(of_another_type) == "deny"
	}
}

test_authzen_grant_of_ones_own_types if {
	said := object.union(data_with, {"policy": {"authzen": {"kinds": {"user": "agent", "group": "person"}}}})
	question := object.union(asked(testing.carol, "todo", "read", none), {"access": {"subject_type": "group"}})
	main.decision.outcome == "allow" with input as question with data.twokey.config as said
	outcome_of_user := main.decision.outcome with input as asked(testing.carol, "todo", "read", none) with data.twokey.config as said
	outcome_of_user == "deny"
}

# AUTHZEN-ENTRYPOINT
test_authzen_entrypoint_allows if outcome(asked(testing.stranger, "own", "read", yes)) == "allow"

test_authzen_entrypoint_denies if outcome(asked(testing.carol, "own", "read", no)) == "deny"

# AUTHZEN-KIND
test_authzen_kind_allows if not "AUTHZEN-KIND" in rules(asked(testing.carol, "own", "read", yes))

test_authzen_kind_denies if {
	every kind in ["sql", "kubernetes", "ssh", "tool", "connection", "rpc"] {
		question := asked(testing.carol, kind, "read", yes)
		outcome(question) == "deny"
		"AUTHZEN-KIND" in rules(question)
	}
}

# AUTHZEN-NEVER
test_authzen_never_allows if outcome(asked(testing.carol, "own", "read", yes)) == "allow"

test_authzen_never_denies if {
	"AUTHZEN-NEVER" in rules(asked(testing.carol, "own", "purge", yes))
	"AUTHZEN-NEVER" in rules(asked(testing.carol, "todo", "purge", none))
}

# AUTHZEN-CALLER
test_authzen_caller_allows if outcome(asked(testing.carol, "own", "read", yes)) == "allow"

test_authzen_caller_denies if {
	"AUTHZEN-CALLER" in rules(asked(testing.carol, "other", "read", yes))
	robot := object.union(asked(testing.carol, "own", "read", yes), {"access": {"subject_type": "robot"}})
	"AUTHZEN-CALLER" in rules(robot)
	another := object.union(asked(testing.carol, "own", "read", yes), {"access": {"caller": ""}})
	"AUTHZEN-CALLER" in rules(another)
}

# AUTHZEN-APPROVAL, AUTHZEN-REFUSED
deletes := asked(testing.carol, "todo", "delete", none)

reviewed(verdicts) := object.union(deletes, {"context": {"approval": object.union(testing.pending, {
	"requester_closure": ["alice", "app", "carol"],
	"verdicts": verdicts,
})}})

yes_of(name) := testing.verdict(name)

test_authzen_approval_allows if {
	outcome(asked(testing.carol, "todo", "read", none)) == "allow"
	outcome(reviewed([yes_of("dave")])) == "allow"
}

test_authzen_approval_denies if {
	held := decide(deletes)
	held.outcome == "require-approval"
	rules(deletes) == {"AUTHZEN-APPROVAL"}
	held.approval.groups == ["dba"]
	every verdicts in [[], [yes_of("carol")], [yes_of("alice")], [object.union(yes_of("dave"), {"groups": []})]] {
		outcome(reviewed(verdicts)) == "require-approval"
	}
}

# What nobody permits isn't held: it is denied; and a permission by an entrypoint is held too.
test_authzen_approval_of_what_is_permitted if {
	outcome(asked(testing.stranger, "todo", "delete", none)) == "deny"
	outcome(asked(testing.stranger, "own", "delete", yes)) == "require-approval"
	outcome(asked(testing.stranger, "own", "delete", no)) == "deny"
}

test_authzen_refused_allows if not "AUTHZEN-REFUSED" in rules(reviewed([yes_of("dave")]))

test_authzen_refused_denies if {
	refusing := object.union(yes_of("dave"), {"approve": false})
	outcome(reviewed([refusing, yes_of("bob")])) == "deny"
	"AUTHZEN-REFUSED" in rules(reviewed([refusing, yes_of("bob")]))
}

# AUTHZEN-OBLIGATION
test_authzen_obligation_allows if {
	decide(asked(testing.carol, "todo", "read", none)).obligations == [{"type": "require-reason", "parameters": {}}]
}

test_authzen_obligation_denies if {
	decide(asked(testing.stranger, "todo", "read", none)).obligations == []
	decide(asked(testing.stranger, "own", "read", yes)).obligations == []
}
