package twokey.sql

import data.twokey.config.policy
import data.twokey.facts

budget := facts.for_environment(policy.budgets.environments)

# METADATA
# title: Writes above the row budget are held
# description: Requires approval for a write whose estimate is above the budget, or can't be made.
# custom: {id: SQL-WRITE-BUDGET}
require contains {"rule": "SQL-WRITE-BUDGET", "reason": reason, "next": next} if {
	write_budget_applies
	above(budget.write)
	on := facts.on_relations({"insert", "update", "delete"})
	reason := sprintf("%s%s touches %s, above the budget of %d in %s", [
		input.operation.sql.command,
		on,
		estimated,
		budget.write,
		input.resource.environment,
	])
	next := "write fewer rows at a time, or wait for a reviewer; press Ctrl-C to withdraw it"
}

# METADATA
# title: Exports above the row budget are held
# description: Requires approval for a read that returns more rows than the budget by estimate, or whose estimate can't be made.
# custom: {id: SQL-EXPORT-BUDGET}
require contains {"rule": "SQL-EXPORT-BUDGET", "reason": reason, "next": next} if {
	export_budget_applies
	above(budget.export)
	on := facts.on_relations({"read"})
	reason := sprintf("%s%s returns %s, above the budget of %d in %s", [
		input.operation.sql.command,
		on,
		estimated,
		budget.export,
		input.resource.environment,
	])
	next := "ask for fewer rows (LIMIT, WHERE, an aggregate), or wait for a reviewer; press Ctrl-C to withdraw it"
}

# METADATA
# title: Budgets need an estimate
# description: Asks for the values and the row estimate where a budget applies that only they can answer.
# custom: {id: SQL-ESTIMATE}
needs contains need if {
	budget_applies
	not facts.rows_known
	some need in facts.estimate_needs
}

budget_applies if write_budget_applies

budget_applies if export_budget_applies

above(rows) if {
	facts.rows_known
	input.operation.sql.most_rows > rows
}

above(rows) if {
	not facts.rows_known
	facts.estimate_known
	input.values.estimate.rows > rows
}

above(_) if {
	not facts.rows_known
	facts.estimate_unknown
}

estimated := sprintf("up to %d rows", [input.operation.sql.most_rows]) if facts.rows_known

else := sprintf("about %d rows", [round(input.values.estimate.rows)]) if facts.estimate_known

else := "an unknown number of rows"

changes_rows if facts.verbs & {"sql.insert", "sql.update", "sql.delete", "sql.merge", "sql.copy-from"} != set()

returns_data if {
	gives_rows
	not changes_rows
	facts.verbs & {"sql.select", "sql.copy-to"} != set()
	facts.reads_data
}

gives_rows if input.operation.sql.returns_rows == true

gives_rows if copies_out

copies_out if "sql.copy-to" in facts.verbs

write_budget_applies if {
	changes_rows
	facts.is_operation
	facts.role_active
	budget.write >= 0
	not held_by_shape
}

# Read-only roles are cut off at their own budget instead: the answer is then given on the shape and can be leased. So is
# COPY TO, which can't be estimated.
export_budget_applies if {
	not read_only
	facts.is_operation
	facts.role_active
	not copies_out
	returns_data
	budget.export >= 0
	not held_by_shape
	not all_small
}

# A role whose data does not say otherwise is read-only.
read_only if not may_write

may_write if facts.role.read_only == false

all_small if {
	small := object.get(policy.budgets.small, input.resource.id, [])
	every relation in input.operation.sql.relations { small_relation(relation, small) }
}

small_relation(relation, _) if relation.catalog == true

# The session's own, never analysed: the planner guesses thousands of rows. Cut off at the budget instead.
small_relation(relation, _) if relation.temporary == true

small_relation(relation, small) if concat(".", [relation.schema, relation.name]) in small
