package twokey.sql

import data.twokey.config.policy
import data.twokey.facts

risks := facts.for_environment(policy.risks)

# METADATA
# title: No DROP and TRUNCATE in production
# description: Denies the verbs that an environment's risks deny outright, whoever asks and whoever approves.
# custom: {id: SQL-DROP-TRUNCATE}
deny contains {"rule": "SQL-DROP-TRUNCATE", "reason": reason, "next": next} if {
	facts.is_operation
	denied := facts.verbs_inside(risks.deny)
	denied != set()
	on := facts.on_relations({"ddl", "truncate"})
	reason := sprintf("%s is denied in %s%s, with or without approval", [facts.words(denied), input.resource.environment, on])
	next := "rename or archive the object instead, or have whoever runs the database do it outside the gateway"
}

# METADATA
# title: Opaque is denied
# description: Denies what the description can't see through, for roles whose data doesn't hold it.
# custom: {id: SQL-OPAQUE-DENIED}
deny contains {"rule": "SQL-OPAQUE-DENIED", "reason": reason, "next": next} if {
	opaque
	facts.is_operation
	not opaque_held
	reason := sprintf("%s: what it does can't be seen before it runs (%s)", [input.operation.sql.command, unseen])
	next := "write it as plain statements, or hand it to an executor"
}

# METADATA
# title: Opaque is held
# description: Requires approval for what the description can't see through, and tells the reviewer what can't be seen.
# custom: {id: SQL-OPAQUE}
require contains {"rule": "SQL-OPAQUE", "reason": reason, "next": next} if {
	opaque
	facts.is_operation
	opaque_held
	reason := sprintf("%s: the reviewer can't see what it does before it runs (%s)", [input.operation.sql.command, unseen])
	next := "write it as plain statements to have it described, or wait for the reviewer, who sees only its text"
}

opaque if {
	not facts.described
	not facts.listed_opaque
}

opaque_held if {
	facts.role_active
	facts.role.opaque == "hold"
}

unseen := text if {
	details := {detail |
		some why in input.operation.sql.opaque_reasons
		detail := sprintf("%s: %s", [why.code, why.detail])
	}
	text := facts.listed("", details)
	text != ""
} else := "no reason given"

# METADATA
# title: Definitions are held
# description: Requires approval for the verbs that an environment's risks hold (DDL, rights, rebuilding) on what isn't temporary.
# custom: {id: SQL-DDL}
require contains {"rule": "SQL-DDL", "reason": reason, "next": hold_next} if {
	defines
	facts.is_operation
	on := facts.on_relations({"ddl"})
	reason := sprintf("%s%s in %s needs an approval", [input.operation.sql.command, on, input.resource.environment])
}

defines if facts.verbs_inside(risks.hold) != set()

hold_next := "wait: the statement runs when a reviewer approves it; press Ctrl-C to withdraw it"

# METADATA
# title: Every DELETE is held
# description: Requires approval for each statement that deletes rows of a relation that isn't temporary, by cascade too.
# custom: {id: SQL-DELETE}
require contains {"rule": "SQL-DELETE", "reason": reason, "next": hold_next} if {
	risks.hold_delete == true
	deletes
	facts.is_operation
	on := facts.on_relations({"delete"})
	reason := sprintf("DELETE%s in %s needs an approval", [on, input.resource.environment])
}

deletes if {
	"sql.delete" in facts.verbs
	not only_temporary("delete")
}

# Described to do this access, and to temporary relations only.
only_temporary(access) if {
	touched := [relation.temporary |
		some relation in input.operation.sql.relations
		access in relation.access
	]
	count(touched) > 0
	every temporary in touched { temporary == true }
}

# METADATA
# title: Writes without WHERE are held
# description: Requires approval for UPDATE and DELETE of whole relations.
# custom: {id: SQL-NO-WHERE}
require contains {"rule": "SQL-NO-WHERE", "reason": reason, "next": next} if {
	risks.hold_without_where == true
	whole_relation
	facts.is_operation
	on := facts.on_relations({"update", "delete"})
	reason := sprintf("%s%s without a WHERE in %s needs an approval", [input.operation.sql.command, on, input.resource.environment])
	next := "add a WHERE that names the rows, or wait for a reviewer; press Ctrl-C to withdraw it"
}

whole_relation if {
	not bounded
	some verb in (facts.verbs & {"sql.update", "sql.delete"})
	not only_temporary(trim_prefix(verb, "sql."))
}

bounded if input.operation.sql.has_where == true

# Held whatever the rows: no estimate can change it.
held_by_shape if opaque

held_by_shape if defines

held_by_shape if {
	risks.hold_delete == true
	deletes
}

held_by_shape if {
	risks.hold_without_where == true
	whole_relation
}
