# METADATA
# title: Facts
# description: What contributors read from the question and the data, in one place; it judges nothing.
package twokey.facts

import data.twokey.config.policy

is_operation if {
	input.question == "operation"
	input.operation.kind == "sql"
	input.resource.kind == "postgres"
}

# The data of the active role: undefined for a role nobody defined.
role := policy.roles[input.subject.role]

# The active role is one that the token carries, that is defined, and that may open sessions.
role_active if {
	input.subject.role in input.subject.roles
	role.connect == true
}

# An environment nobody named is treated as "*", the strict entry.
for_environment(table) := object.get(table, input.resource.environment, table["*"])

# People know the subject and everyone who acts for it: persons, and agents with an owner.
registered if {
	known_party(input.subject)
	every actor in input.subject.actors { known_party(actor) }
}

known_party(party) if party.kind == "person"

known_party(party) if {
	party.kind == "agent"
	party.owner != ""
}

# Anything but a clear false is opaque.
described if input.operation.sql.opaque == false

# Opaque for reasons that the data lists, every one of them.
listed_opaque if {
	reasons := input.operation.sql.opaque_reasons
	count(reasons) > 0
	listed_here := policy.unseen.reasons[input.resource.id]
	every why in reasons {
		why.code in listable
		sprintf("%s: %s", [why.code, why.detail]) in listed_here
	}
}

# Those that name what does it. The others say that nobody knows what the statement means.
listable := {
	"call", "dynamic-sql", "event-trigger", "procedural-default", "procedural-function", "procedural-rule",
	"procedural-trigger", "remote", "server-file", "untrusted-function",
}

# One principal's name for messages: as people.yaml has it, else the token's sub.
subject_name := input.subject.name if input.subject.name != ""

else := input.subject.sub

# Both lists say the same; where they ever differ, both count.
verbs := {verb | some verb in input.action.verbs} | {verb | some verb in input.operation.sql.verbs}

# The groups of verbs.yaml that the verbs belong to.
groups := {policy.verbs[verb] | some verb in verbs}

# The verbs that belong to none of these groups; those that verbs.yaml doesn't know belong to none at all.
verbs_outside(some_groups) := {verb |
	some verb in verbs
	not in_groups(verb, some_groups)
}

verbs_inside(some_groups) := {verb |
	some verb in verbs
	in_groups(verb, some_groups)
}

in_groups(verb, some_groups) if policy.verbs[verb] in some_groups

# "DROP, TRUNCATE" for {"sql.drop", "sql.truncate"}
words(some_verbs) := concat(", ", [upper(replace(trim_prefix(verb, "sql."), "-", " ")) | some verb in some_verbs])

# The names of at most five relations touched by one of these accesses: " on public.orders", or nothing.
on_relations(accesses) := text if {
	names := [name |
		some relation in input.operation.sql.relations
		some access in relation.access
		access in accesses
		name := concat(".", [relation.schema, relation.name])
	]
	text := listed(" on ", {name | some name in names})
}

listed(_, names) := "" if count(names) == 0

listed(prefix, names) := concat("", [prefix, concat(", ", names)]) if {
	count(names) > 0
	count(names) <= 5
}

listed(prefix, names) := sprintf("%s%s and %d more", [prefix, concat(", ", array.slice(sorted, 0, 5)), count(sorted) - 5]) if {
	count(names) > 5
	sorted := sort(names)
}

# The class of a setting (settings.yaml); `other` when no list names it.
setting_classes(name) := {class |
	some class, names in policy.settings.classes
	name in names
}

setting_in(setting, _) if setting.action == "show"

setting_in(setting, _) if {
	setting.action in {"set", "set-local"}
	setting.value in policy.settings.tightening[setting.name]
}

setting_in(setting, classes) if {
	setting.action in {"set", "set-local"}
	some class in classes
	setting.value in policy.settings.values[class][setting.name]
}

# Back to what the session was opened with.
setting_in(setting, classes) if {
	setting.action == "reset"
	some class in classes
	policy.settings.values[class][setting.name]
}

setting_in(setting, classes) if {
	some class in setting_classes(setting.name)
	class in classes
}

# Touches neither names nor rights: what even an unregistered agent may do.
harmless if {
	input.operation.sql.relations == []
	is_operation
	described
	input.operation.sql.columns == []
	input.operation.sql.functions == []
	verbs != set()
	verbs_outside(policy.harmless.groups) == set()
	every setting in input.operation.sql.settings { setting_in(setting, policy.harmless.settings) }
}

# The shape says how many rows it can change, or return, at most.
rows_known if input.operation.sql.most_rows > 0

# An estimate is there, or can't be made.
estimate_known if {
	input.values.present == true
	input.values.estimate.state == "known"
}

estimate_unknown if {
	input.values.present == true
	input.values.estimate.state == "unknown"
}

# What to ask for, to have an estimate: nothing once it is known or known to be impossible.
estimate_needs := set() if estimate_known

else := set() if estimate_unknown

else := {"estimate"} if input.values.present == true

else := {"estimate", "values"}

# Reads rows of a relation that isn't the catalog.
reads_data if {
	some relation in input.operation.sql.relations
	relation.catalog == false
	"read" in relation.access
}

# The labels that the active role sees masked.
default clear_labels := []

clear_labels := policy.masking.clear[input.subject.role]

masked_label(label) if {
	not "*" in clear_labels
	not label in clear_labels
}

sees_masked if not "*" in clear_labels

# The connection has classified columns, by the file or by the target's catalog: without any, no column has a label.
labelled if some _ in data.twokey.config.classification[input.resource.id]

labelled if some _ in input.operation.sql.column_labels

# The label of a column of the question's connection that counts for the active role: undefined for one that isn't
# classified. Of several labels it is one that the role sees masked, if there is any: a further label only tightens.
label_of(column) := label if {
	masked := masked_labels(column)
	count(masked) > 0
	label := min(masked)
} else := min(labels_of(column))

# Labels add up: that of the classification file, and those that the target's own catalog gives (comments, security labels).
# Looked up by key, because a connection may have thousands.
labels_of(column) := labels_at(column_key(column))

labels_at(key) := {label |
	some label in [data.twokey.config.classification[input.resource.id][key]]
} | object.get(catalog_labels, key, set())

catalog_labels[key] contains label if {
	some column in input.operation.sql.column_labels
	key := column_key(column)
	some label in column.labels
}

# The labels of a column that the active role sees masked.
masked_labels(column) := masked_labels_at(column_key(column))

masked_labels_at(key) := {label |
	some label in labels_at(key)
	masked_label(label)
}

# Every label that some column of the connection has, in the file or in the target's catalog.
connection_labels contains label if some label in data.twokey.config.classification[input.resource.id]

connection_labels contains label if some label in input.operation.sql.target_labels

# One spelling a column (decision/columns.py): a name with a dot, a double quote or a space at an end is quoted, so that no
# two columns share it. Most names are plain, which one look at the three of them tells.
column_key(column) := key if {
	key := concat(".", [column.schema, column.relation, column.column])
	regex.match(`^\w*\.\w*\.\w*$`, key)
}

else := concat(".", [quoted(column.schema), quoted(column.relation), quoted(column.column)])

quoted(name) := name if {
	not contains(name, ".")
	not contains(name, `"`)
	trim_space(name) == name
}

else := concat("", [`"`, replace(name, `"`, `""`), `"`])

# Every value is there without which a duty would be silent. Where a missing one only denies, nothing is asked.
complete if {
	data_of_policy := policy # found once: each further way to it costs as much as the look itself
	is_string(data_of_policy.verbs["sql.update"])
	is_number(data_of_policy.approvals["default"].expires_s)
	is_number(data_of_policy.leases.ttl_ms)
	is_string(data_of_policy.masking["default"].type)

	# An empty array is a part of every array and of nothing else: one look tells that all of these are arrays.
	object.subset(data_of_policy, {
		"duties": {"static": [], "dynamic": [], "never_write": []},
		"obligations": {"session": [], "act": []},
	})
	risks := for_environment(data_of_policy.risks)
	is_boolean(risks.hold_delete)
	is_boolean(risks.hold_without_where)
	object.subset(risks, {"deny": [], "hold": []})
	budget := for_environment(data_of_policy.budgets.environments)
	is_number(budget.write)
	is_number(budget.export)
	is_number(budget.read)
}

# The question is about what a statement does: to run it, or to read it.
describes if is_operation

describes if {
	input.question == "read"
	input.operation.kind == "sql"
}

# The description is whole: each field is there on which a denial could otherwise stay silent.
whole if input.question in {"session", "review", "call", "access", "request"}

whole if {
	describes
	is_string(input.resource.id)
	is_string(input.resource.environment)
	is_boolean(input.context.approval.present)
	is_string(input.context.reason)
	object.subset(input, {
		"action": {"verbs": []},
		"context": {"approval": {"verdicts": []}},
		"operation": {"sql": {
			"opaque_reasons": [],
			"verbs": [],
			"relations": [],
			"columns": [],
			"functions": [],
			"settings": [],
			"output": [],
			"inferences": [],
			"flows": [],
			"target_labels": [],
			"column_labels": [],
			"missing_columns": [],
			"literals": [],
			"servers": [],
		}},
	})
	sql := input.operation.sql
	is_string(sql.command)
	is_boolean(sql.opaque)
	is_boolean(sql.has_where)
	is_boolean(sql.returns_rows)
	every use in sql.relations {
		use.schema
		use.name
		is_array(use.access)
		is_boolean(use.catalog)
		is_boolean(use.temporary)
	}
	every use in sql.columns {
		use.schema
		use.relation
		use.column
		use.use
	}
	every output in sql.output { whole_output(output) }
	every inference in sql.inferences {
		inference.schema
		inference.relation
		inference.column
		inference.kind
	}
	rest_whole
}

# What most statements have nothing of.
rest_whole if {
	input.operation.sql.functions == []
	input.operation.sql.settings == []
	input.operation.sql.flows == []
	input.operation.sql.column_labels == []
	input.operation.sql.missing_columns == []
	input.operation.sql.servers == []
}

else if {
	sql := input.operation.sql
	every use in sql.functions { use.name; use.schema}
	every use in sql.settings { use.name; use.action}
	every flow in sql.flows { whole_flow(flow) }
	every column in sql.column_labels {
		whole_name(column)
		is_array(column.labels)
	}
	every column in sql.missing_columns { whole_name(column) }
	every server in sql.servers {
		server.name
		server.wrapper
		is_array(server.access)
	}
}

whole_output(output) if {
	whole_origin(output.origin)
	sources := output.sources
	is_array(sources)
	every source in sources {
		source.schema
		source.relation
		source.column
		source.through
	}
}

whole_origin(null)

whole_origin(origin) if whole_name(origin)

whole_flow(flow) if {
	whole_name(flow.source)
	whole_name(flow.target)
	is_boolean(flow.temporary)
	is_boolean(flow.carried)
	flow.through
}

whole_name(column) if {
	column.schema
	column.relation
	column.column
}
