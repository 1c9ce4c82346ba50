package twokey.masking

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: A new table's columns inherit their sources' label
# description: Where masking.yaml says so (derive), a stored table made from classified columns gets their label in place of being held, before the table exists.
# custom: {id: MASK-DERIVE}
obligations contains {"type": "classify", "parameters": {"columns": columns}} if {
	policy.masking.derive
	columns := [column | some column in derivations]
	count(columns) > 0
}

derivations contains column if {
	some _, labels in object.get(policy.masking, "derive", {})
	count(labels) > 0
	some flow in weakened
	derivable(flow)
	some label in flow.labels
	column := object.union(object.filter(flow.target, ["schema", "relation", "column"]), {"label": label})
}

# A table that stays, whose column has no label yet and gets one only: two would need a person to choose a masker.
derivable(flow) if {
	permitted := object.get(policy.masking, ["derive", input.subject.role], [])
	count(permitted) > 0
	facts.described
	flow.kind == "create"
	flow.temporary == false
	flow.target.schema != ""
	not startswith(flow.target.schema, "pg_")
	facts.labels_of(flow.target) == set()
	labels := union({other.labels | some other in weakened; facts.column_key(other.target) == facts.column_key(flow.target)})
	count(labels) == 1
	some label in labels
	some word in permitted
	word in {label, "*"}
	not facts.masked_label(label)
}

# METADATA
# title: A derived label stays with its name
# description: Denies renaming, moving or altering a relation whose labels are derived and not yet in the classification file. Under another name its values would be bare.
# custom: {id: MASK-DERIVED}
deny contains {"rule": "MASK-DERIVED", "reason": reason, "next": next} if {
	facts.is_operation
	some _ in data.twokey.config.derived[input.resource.id]
	"sql.alter" in input.operation.sql.verbs
	names := moved
	count(names) > 0
	reason := sprintf("the labels%s are derived and follow the name", [facts.listed(" of ", names)])
	next := "commit the diff of `twokey classify derived` first"
}

moved contains key if {
	some relation in input.operation.sql.relations
	prefix := trim_suffix(facts.column_key({"schema": relation.schema, "relation": relation.name, "column": "x"}), "x")
	some key, _ in data.twokey.config.derived[input.resource.id]
	startswith(key, prefix)
}

# What names no relation moves all of them.
moved contains key if {
	input.operation.sql.command in {"ALTER", "ALTER SCHEMA", "ALTER DATABASE", "ALTER EXTENSION"}
	input.operation.sql.relations == []
	some key, _ in data.twokey.config.derived[input.resource.id]
}
