package twokey.sql

import data.twokey.config.policy
import data.twokey.facts

# Obligations of every act that isn't harmless, and of the session as a whole.
limited if {
	facts.is_operation
	not facts.harmless
}

limited if input.question == "session"

# METADATA
# title: Read-only roles run read-only
# description: Obliges the enforcer to run the acts of a read-only role in read-only transactions.
# custom: {id: SQL-READ-ONLY}
obligations contains {"type": "read-only", "parameters": {}} if {
	limited
	facts.role_active
	read_only
}

# METADATA
# title: Statements end
# description: Obliges the enforcer to limit how long a statement runs.
# custom: {id: SQL-STATEMENT-TIMEOUT}
obligations contains {"type": "statement-timeout", "parameters": {"ms": facts.role.statement_timeout_ms}} if limited

# METADATA
# title: Reads are cut off at the budget
# description: Obliges the enforcer to cut off what returns rows of data, at the read or export budget; not where a reviewer approved more.
# custom: {id: SQL-MAX-ROWS}
obligations contains {"type": "max-rows", "parameters": {"rows": rows}} if {
	returns_data
	facts.is_operation
	not approved_export
	rows := row_limit
	rows >= 0
}

# METADATA
# title: Writes are rolled back beyond the budget
# description: Obliges the enforcer to take back a write that touches more rows than the budget, where only an estimate let it through.
# custom: {id: SQL-MAX-WRITTEN}
obligations contains {"type": "max-rows", "parameters": {"rows": budget.write}} if {
	write_budget_applies
	not facts.rows_known
	not above(budget.write)
}

row_limit := budget.read if read_only

else := budget.export

# Held and released: the require of this act was above the budget or opaque, and main lets it pass only when satisfied,
# for which there must be an approval.
approved_export if {
	input.context.approval.present == true
	export_budget_applies
	above(budget.export)
}

approved_export if {
	input.context.approval.present == true
	held_by_shape
}

# METADATA
# title: Reads on the shape may be leased
# description: Lets an answer on the shape be reused for statements that only read or control, and call nothing volatile but reviewed functions. Their records may follow in a window.
# custom: {id: SQL-LEASE}
leases contains {"ttl_ms": policy.leases.ttl_ms, "window": policy.leases.window} if {
	leasable
	windowed
}

# METADATA
# title: Writes on the shape may be leased
# description: Lets an answer on the shape be reused for data changes whose shape says all that policy asks. The intent of each is durable before it runs.
# custom: {id: SQL-LEASE-WRITE}
leases contains {"ttl_ms": policy.leases.ttl_ms, "window": null} if {
	leasable
	not windowed
	facts.verbs_outside(policy.leases.durable) == set()
}

# An answer on the shape that rests on nothing else.
leasable if {
	input.values.present == false
	input.context.approval.present == false
	input.context.reason == ""
	input.operation.sql.opaque == false
	facts.is_operation
	quiet_parts
}

quiet_parts if {
	input.operation.sql.settings == []
	input.operation.sql.functions == []
}

else if {
	every setting in input.operation.sql.settings { facts.setting_in(setting, policy.harmless.settings) }
	every function in input.operation.sql.functions { quiet(function) }
}

windowed if {
	input.operation.sql.transaction.written == false
	facts.verbs_outside(policy.leases.groups) == set()
}

windowed if facts.verbs_outside(policy.leases.reading) == set()

quiet(function) if function.safe == true

quiet(function) if function.volatility in {"immutable", "stable"}
