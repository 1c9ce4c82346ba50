package twokey.masking

import data.twokey.config.policy
import data.twokey.facts

is_reading if {
	input.question == "read"
	input.operation.kind == "sql"
}

# A reader activates no role: what one of the token's roles may see, its bearer may see.
readable_labels contains label if {
	is_reading
	some role in input.subject.roles
	some label in policy.masking.clear[role]
}

unreadable(label) if {
	not "*" in readable_labels
	not label in readable_labels
}

# Every stored column that the statement names in any way: its constants may have met each of them.
met := array.concat(
	array.concat(input.operation.sql.columns, input.operation.sql.inferences),
	array.concat(
		[source | some output in input.operation.sql.output; some source in output.sources],
		array.concat(
			[column | some flow in input.operation.sql.flows; some column in [flow.source, flow.target]],
			array.concat(
				[column | some literal in input.operation.sql.literals; some column in literal.columns],
				input.operation.sql.column_labels,
			),
		),
	),
) if {
	is_reading
}

# METADATA
# title: Who may read the log and the approvals may read statements
# description: Permits whoever may call the RPC to read a statement; what carries labels in it is another matter.
# custom: {id: MASK-READ}
allow contains {"rule": "MASK-READ", "reason": "who may make this call may read statements", "next": ""} if is_reading

# METADATA
# title: Constants carry the label of what they met
# description: Hides the constants and bound values of a statement that may have met a classified column from readers none of whose roles sees its label.
# custom: {id: MASK-LITERAL}
mask contains {"rule": "MASK-LITERAL", "reason": reason, "next": "", "column": column} if {
	input.question == "read"
	some name in met
	some label in facts.labels_of(name)
	unreadable(label)
	column := {
		"schema": name.schema,
		"relation": name.relation,
		"column": name.column,
		"label": label,
		"masker": {"type": "null"},
	}
	reason := sprintf("constants that met %s (label %s) are hidden from %s", [facts.column_key(name), label, facts.subject_name])
}

# METADATA
# title: What can't be seen through is not read
# description: Hides opaque statements as a whole from readers who may not see every label of the connection, for nobody can say which of their constants met what.
# custom: {id: MASK-READ-OPAQUE}
deny contains {"rule": "MASK-READ-OPAQUE", "reason": reason, "next": next} if {
	input.question == "read"
	is_reading
	not facts.described
	some label in facts.connection_labels
	unreadable(label)
	reason := sprintf("what this statement does can't be seen, and it may hold values of label %s", [label])
	next := "ask a reader whose role may see the label"
}
