# METADATA
# title: Masking
# description: Classified columns reach a masked role only as masked output columns; any other touch is refused.
package twokey.masking

import data.twokey.config.policy
import data.twokey.facts

# Verbs through which output columns reach the client as rows that can be masked.
maskable_verbs := {"sql.select", "sql.declare", "sql.fetch", "sql.prepare", "sql.execute", "sql.copy-to"}

# Classified columns that the statement reads, for a role that sees their label masked.
touched contains {"column": column, "label": label} if {
	facts.is_operation
	some column in input.operation.sql.columns
	column.use != "write"
	label := facts.label_of(column)
	facts.masked_label(label)
}

# Output columns that come straight from one: its origin has a masked label under one of its names. A partition's column
# is its parent's too, a view's is the table's: `sources` lists every name of the copied value.
origins contains {"origin": origin, "label": label} if {
	facts.is_operation
	some output in input.operation.sql.output
	origin := output.origin
	label := sort([label | some label in origin_labels[facts.column_key(origin)]])[0]
}

origin_labels[key] contains label if {
	some output in input.operation.sql.output
	some name in copied_names(output)
	key := facts.column_key(output.origin)
	some label in facts.masked_labels(name)
}

# The names of the one stored column that an output column is a copy of.
copied_names(output) := array.concat([output.origin], [source |
	some source in output.sources
	source.through == "copy"
])

origin_keys := {facts.column_key(masked.origin) | some masked in origins}

masked_names := {facts.column_key(name) |
	some output in input.operation.sql.output
	origin_labels[facts.column_key(output.origin)]
	some name in copied_names(output)
}

# The masker of a label for the active role: the role's own for it, else the label's, else the default.
masker_of(label) := masker if {
	labels := object.get(policy.masking, "maskers", {})
	own := object.get(policy.masking, ["roles", input.subject.role], {})
	masker := object.get(own, label, object.get(labels, label, policy.masking["default"]))
}

# The masker of a column: of several labels that are masked by different maskers, none but null is as strict as each.
masker_for(column) := masker if {
	maskers := {masker_of(label) | some label in origin_labels[facts.column_key(column)]}
	count(maskers) == 1
	some masker in maskers
} else := {"type": "null"}

# METADATA
# title: Classified output is masked
# description: Masks each output column that comes straight from a classified column, for roles that see its label masked.
# custom: {id: MASK-OUTPUT}
mask contains {"rule": "MASK-OUTPUT", "reason": reason, "next": "", "column": column} if {
	some masked in origins
	column := {
		"schema": masked.origin.schema,
		"relation": masked.origin.relation,
		"column": masked.origin.column,
		"label": masked.label,
		"masker": masker_for(masked.origin),
	}
	reason := sprintf("%s is masked for %s (label %s)", [facts.column_key(masked.origin), input.subject.role, masked.label])
}

# METADATA
# title: Classified columns pass only as output
# description: Denies a masked role every other use of a classified column (WHERE, JOIN, ORDER BY, expressions, aggregates), which would tell its values.
# custom: {id: MASK-OTHER}
deny contains {"rule": "MASK-OTHER", "reason": reason, "next": next} if {
	some classified in touched
	not only_output(classified.column)
	reason := sprintf("%s (label %s) may only be selected as it is, where it is masked; here it is used otherwise, which could tell its values", [
		facts.column_key(classified.column),
		classified.label,
	])
	next := "select the column itself, without expression, condition, join or order on it, or leave it out"
}

only_output(column) if {
	column.use == "output"
	facts.column_key(column) in masked_names
}

# METADATA
# title: Classified columns pass only in rows that can be masked
# description: Denies a masked role statements that carry classified columns where they can't be masked (EXPLAIN, CREATE TABLE AS, COPY to a file, …).
# custom: {id: MASK-STREAM}
deny contains {"rule": "MASK-STREAM", "reason": reason, "next": next} if {
	count(touched) + count(origins) > 0
	other := facts.verbs - maskable_verbs
	count(other) > 0
	names := {facts.column_key(classified.column) | some classified in touched} | origin_keys
	reason := sprintf("%s can't be masked in %s", [facts.listed("", names), facts.words(other)])
	next := "select the columns with a plain SELECT, or leave them out"
}

# METADATA
# title: What can't be seen can't be masked
# description: Denies a masked role opaque statements on a connection with classified columns, approval or not.
# custom: {id: MASK-OPAQUE}
deny contains {"rule": "MASK-OPAQUE", "reason": reason, "next": next} if {
	facts.is_operation
	not facts.described
	some label in facts.connection_labels
	facts.masked_label(label)
	reason := sprintf("%s could show classified columns to %s unmasked: what it does can't be seen", [
		input.operation.sql.command,
		input.subject.role,
	])
	next := "write it as plain statements"
}
