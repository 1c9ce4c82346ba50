# METADATA
# title: Masking
# description: Classified columns reach a masked role only as masked output columns; what else tells of them is refused.
package twokey.masking

import data.twokey.config.policy
import data.twokey.facts

# Verbs through which output columns reach the client as rows that can be masked.
maskable_verbs := {"sql.select", "sql.declare", "sql.fetch", "sql.prepare", "sql.execute", "sql.copy-to"}

# Some column of the connection has a label, and the role sees some label masked: else nothing is hidden from it.
hides if {
	facts.is_operation
	facts.labelled
	facts.sees_masked
}

# Classified columns that the statement reads, for a role that sees their label masked.
touched contains {"column": column, "label": label} if {
	hides
	some column in input.operation.sql.columns
	column.use != "write"
	label := min(facts.masked_labels(column))
}

# Output columns that come straight from one: its origin has a masked label under one of its names. A partition's column
# is its parent's too, a view's is the table's: `sources` lists every name of the copied value.
origins contains {"origin": origin, "label": label} if {
	hides
	some output in input.operation.sql.output
	origin := output.origin
	label := min(origin_labels[facts.column_key(origin)])
}

# Whole at once: asked for key by key, each key would read every output again.
origin_labels := {key: labels | some key, labels in copied_labels}

copied_labels[key] contains label if {
	hides
	some output in input.operation.sql.output
	key := facts.column_key(output.origin)
	some name in copied_names(output)
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
# title: Who can write a column sees no hashes of it
# description: Denies output masked by a keyed hash to a subject that holds a role which may write here. Whoever writes a value and reads its hash can build a table of hashes.
# custom: {id: MASK-HASH}
deny contains {"rule": "MASK-HASH", "reason": reason, "next": next} if {
	some masked in origins
	masker_for(masked.origin).type == "hash"
	writing := {role | some role in input.subject.roles; may_write(role)}
	count(writing) > 0
	reason := sprintf("%s (label %s) is masked by a hash, and %s may write here as %s: written values and their hashes would tell the others", [
		facts.column_key(masked.origin),
		masked.label,
		facts.subject_name,
		concat(", ", sort([role | some role in writing])),
	])
	next := "use an identity without that role, or give the label another masker"
}

may_write(name) if {
	some group in facts.for_environment(policy.roles[name].grants)
	group in {"write", "define"}
}

# Output columns that depend on a classified column otherwise than as a masked copy of it, by place and counted from 1.
computed contains {"position": position + 1, "name": output.name, "source": source, "label": label} if {
	hides
	some position, output in input.operation.sql.output
	some source in output.sources
	some label in facts.masked_labels(source)
	not copied(output, source)
}

copied(output, source) if {
	source.through == "copy"
	origin_labels[facts.column_key(output.origin)]
}

# METADATA
# title: What is computed from classified columns is hidden
# description: Masks with null each output column that is computed from a classified column by functions that tell nothing. Any other masker could show what the label hides.
# custom: {id: MASK-COMPUTED}
mask contains {"rule": "MASK-COMPUTED", "reason": reason, "next": "", "output": output} if {
	some hidden in computed
	hidden.source.through in {"copy", "safe"}
	labels := {other.label | some other in computed; other.position == hidden.position}
	output := {"position": hidden.position, "label": sort([label | some label in labels])[0], "masker": {"type": "null"}}
	reason := sprintf("column %d of the result is computed from %s and masked for %s (label %s)", [
		hidden.position,
		facts.column_key(hidden.source),
		input.subject.role,
		hidden.label,
	])
}

# METADATA
# title: An expression must not tell what it hides
# description: Denies a masked role an expression over a classified column whose functions can fail, return more or fewer rows or change state depending on its value. Masking the result comes too late.
# custom: {id: MASK-TELLS}
deny contains {"rule": "MASK-TELLS", "reason": reason, "next": next} if {
	some hidden in computed
	not hidden.source.through in {"copy", "safe"}
	reason := sprintf("%s (label %s) goes through %s, which can tell its value before anything is masked", [
		facts.column_key(hidden.source),
		hidden.label,
		named(hidden.source.function, "an expression"),
	])
	next := "select the column itself, or leave it out"
}

# Classified columns that decide what can be seen, in a way that the data doesn't let this role use.
told contains {"inference": inference, "label": label} if {
	input.operation.sql.inferences[0]
	hides
	some inference in input.operation.sql.inferences
	not inference.kind in permitted_inferences
	some label in facts.masked_labels(inference)
}

permitted_inferences := object.get(policy.masking, ["inference", "allow"], [])

# METADATA
# title: Classified columns decide nothing
# description: Denies a masked role statements in which a classified column decides which rows, how many, in which order, or whether there is an error. masking.yaml lists the ways that are permitted.
# custom: {id: MASK-INFERENCE}
deny contains {"rule": "MASK-INFERENCE", "reason": reason, "next": next} if {
	some found in told
	not budgeted(found)
	reason := sprintf("%s (label %s) is used in %s%s, which could tell its values", [
		facts.column_key(found.inference),
		found.label,
		place(found.inference.kind),
		by(found.inference.function),
	])
	next := "leave the column out of it, or ask a role that may see it"
}

place(kind) := words if {
	words := places[kind]
} else := kind

places := {
	"where": "WHERE",
	"join": "a join",
	"join-foreign-key": "a join along a foreign key",
	"group": "GROUP BY",
	"having": "HAVING",
	"distinct": "DISTINCT",
	"set-operation": "a set operation",
	"order": "ORDER BY",
	"limit": "LIMIT or OFFSET",
	"filter": "FILTER",
	"aggregate": "an aggregate",
	"case": "a condition",
	"window": "a window",
	"set-returning": "a function that returns rows",
	"exists": "a condition over a subquery",
	"on-conflict": "ON CONFLICT",
	"merge": "a condition of MERGE",
	"constraint": "a constraint that the write would probe",
	"row-security": "a row security policy",
	"partition": "a partition's bounds",
	"expression": "an expression that can tell",
	"estimate": "EXPLAIN",
	"unlisted": "a way that can't be placed",
}

by("") := ""

by(name) := sprintf(" (%s)", [name]) if name != ""

named("", words) := words

named(name, _) := name if name != ""

# METADATA
# title: Classified values keep their label where they are stored
# description: Denies a masked role to store what depends on a classified column in a column without its label, temporary ones too.
# custom: {id: MASK-STORE}
deny contains {"rule": "MASK-STORE", "reason": reason, "next": next} if {
	some flow in weakened
	some label in flow.labels
	facts.masked_label(label)
	reason := sprintf("%s (label %s) %s, where it is seen unmasked", [
		facts.column_key(flow.source),
		label,
		goes(flow),
	])
	next := "leave the column out"
}

# METADATA
# title: A weaker label is a reviewer's to give
# description: Holds a role that sees a label from storing what depends on it in a column that lacks the label. In a temporary table only where the gateway can't keep in mind what it holds, since nobody could say later what comes from it.
# custom: {id: MASK-WRITE-DOWN}
require contains {"rule": "MASK-WRITE-DOWN", "reason": reason, "next": next} if {
	some flow in weakened
	not derivable(flow)
	not carried(flow)
	reason := sprintf("%s (label %s) %s, which lacks the label: %s", [
		facts.column_key(flow.source),
		concat(", ", sort([label | some label in flow.labels])),
		goes(flow),
		seen_later(flow.temporary),
	])
	next := without(flow)
}

# The session's own table, and from now on the gateway names the source wherever it is read: the hold is at its exit.
carried(flow) if {
	flow.carried == true
	flow.temporary == true
	not input.operation.sql.opaque
}

without(flow) := "label the column in the classification file first" if flow.kind == "comment"

without(flow) := sprintf("classify %s first, or leave the column out", [facts.column_key(flow.target)]) if flow.kind != "comment"

# To where a value goes, or by what name alone it will be known where it is.
goes(flow) := sprintf("would be known as %s only", [facts.column_key(flow.target)]) if flow.kind in {"rename", "detach"}

goes(flow) := "would have another comment or security label" if flow.kind == "comment"

goes(flow) := sprintf("would be stored in %s", [facts.column_key(flow.target)]) if {
	not flow.kind in {"rename", "detach", "comment"}
}

seen_later(true) := "what this session stores from there is seen unmasked"

seen_later(temporary) := "others would see it unmasked" if temporary != true

# Values that move to a column that lacks one of their labels. What a view shows, and what a column is generated from, keeps
# its label by lineage: to read it is to read its source.
weakened contains object.union(object.remove(flow, ["through"]), {"labels": labels}) if {
	input.operation.sql.flows[0]
	facts.is_operation
	facts.labelled
	some flow in input.operation.sql.flows
	not flow.kind in {"view", "generated"}
	labels := facts.labels_of(flow.source) - facts.labels_of(flow.target)
	count(labels) > 0
}

# METADATA
# title: Every use of a classified column is known
# description: Denies a masked role a use of a classified column that is neither a masked output nor a permitted inference.
# custom: {id: MASK-OTHER}
deny contains {"rule": "MASK-OTHER", "reason": reason, "next": next} if {
	some classified in touched
	not only_output(classified.column)
	not placed(classified.column)
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

# Where else it is used is known, and judged there.
placed(column) if {
	column.use == "other"
	facts.column_key(column) in placed_names
}

placed_names contains facts.column_key(hidden.source) if some hidden in computed

placed_names contains facts.column_key(inference) if {
	some inference in input.operation.sql.inferences
	facts.masked_labels(inference) != set()
}

# METADATA
# title: Classified columns pass only in rows that can be masked
# description: Denies a masked role statements that carry classified columns where they can't be masked (EXPLAIN, CREATE TABLE AS, COPY to a file, …).
# custom: {id: MASK-STREAM}
deny contains {"rule": "MASK-STREAM", "reason": reason, "next": next} if {
	hides
	touched | origins != set()
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
	not facts.described
	facts.is_operation
	not facts.listed_opaque
	some label in facts.connection_labels
	facts.masked_label(label)
	reason := sprintf("%s could show classified columns to %s unmasked: what it does can't be seen", [
		input.operation.sql.command,
		input.subject.role,
	])
	next := "write it as plain statements"
}
