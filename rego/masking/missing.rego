package twokey.masking

import data.twokey.facts

# METADATA
# title: A classification that names a missing column protects nothing
# description: Denies a masked role every statement on relations of users while the classification names columns that the target doesn't have, since under another name they would pass unmasked.
# custom: {id: MASK-MISSING}
deny contains {"rule": "MASK-MISSING", "reason": reason, "next": next} if {
	input.operation.sql.missing_columns[0]
	facts.is_operation
	facts.sees_masked
	may_touch_data
	names := {facts.column_key(column) | some column in input.operation.sql.missing_columns}
	count(names) > 0
	reason := sprintf("the classification names columns that the target of %s doesn't have, or has under other names by now%s; there they would be unmasked", [
		input.resource.id,
		facts.listed(": ", names),
	])
	next := "correct the classification file (`twokey doctor` says the lines), or give the columns their names back"
}

may_touch_data if not facts.described

may_touch_data if {
	some relation in input.operation.sql.relations
	relation.catalog == false
}
