package twokey.masking

import data.twokey.facts

# METADATA
# title: Stored rows are not tried out
# description: Denies a masked role definitions that test or sort the rows that are there by values that it sees masked. Whether they succeed, and in which order rows come afterwards, would tell them.
# custom: {id: MASK-STORED}
deny contains {"rule": "MASK-STORED", "reason": reason, "next": next} if {
	facts.is_operation
	command := input.operation.sql.command
	command in {"CLUSTER", "ALTER DOMAIN", "ALTER TABLE"}
	facts.sees_masked
	tries_hidden(command)
	reason := sprintf("%s looks at stored values that %s sees masked (or could, as far as can be seen here)", [
		command,
		input.subject.role,
	])
	next := "ask a role that may see them"
}

# Of every column of that type, whichever those are; and CLUSTER alone of every table that was clustered before.
tries_hidden("ALTER DOMAIN") if hidden_label

tries_hidden("CLUSTER") if {
	hidden_label
	input.operation.sql.relations == []
}

tries_hidden("CLUSTER") if {
	some relation in input.operation.sql.relations
	hidden_columns(relation)
}

# Two tables: one becomes a partition of the other, if its rows fit. What names one alone reports what it looks at.
tries_hidden("ALTER TABLE") if {
	count(input.operation.sql.relations) > 1
	some relation in input.operation.sql.relations
	"ddl" in relation.access
	hidden_columns(relation)
}

hidden_label if {
	some label in facts.connection_labels
	facts.masked_label(label)
}

hidden_columns(relation) if {
	prefix := trim_suffix(facts.column_key({"schema": relation.schema, "relation": relation.name, "column": "x"}), "x")
	some key, label in data.twokey.config.classification[input.resource.id]
	startswith(key, prefix)
	facts.masked_label(label)
}

# Which tables the target's own labels are on is not said of a statement that names no column.
hidden_columns(_) if {
	some label in input.operation.sql.target_labels
	facts.masked_label(label)
}
