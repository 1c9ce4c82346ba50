# METADATA
# title: SQL
# description: What a role may do with SQL at all, and what no one may.
package twokey.sql

import data.twokey.config.policy
import data.twokey.facts

not_granted := facts.verbs_outside(facts.for_environment(facts.role.grants))

# METADATA
# title: A role does what it is granted
# description: Allows a described statement when every one of its verbs is granted to the active role here.
# custom: {id: SQL-GRANT}
allow contains {"rule": "SQL-GRANT", "reason": reason, "next": ""} if {
	facts.is_operation
	not_granted == set()
	facts.verbs != set()
	facts.role_active
	facts.registered
	reason := sprintf("%s may %s in %s", [input.subject.role, facts.words(facts.verbs), input.resource.environment])
}

# METADATA
# title: Harmless statements
# description: Allows anyone with an active role what touches neither names nor rights (transaction control, harmless settings).
# custom: {id: SQL-HARMLESS}
allow contains {"rule": "SQL-HARMLESS", "reason": reason, "next": ""} if {
	facts.harmless
	facts.role_active
	reason := sprintf("%s touches neither names nor rights", [facts.words(facts.verbs)])
}

# METADATA
# title: Nothing beyond the grants
# description: Denies a statement with a verb that the active role isn't granted here, and names the verb.
# custom: {id: SQL-VERB}
deny contains {"rule": "SQL-VERB", "reason": reason, "next": next} if {
	not_granted != set()
	facts.is_operation
	not facts.harmless
	facts.role_active
	reason := sprintf("%s may not %s in %s", [input.subject.role, facts.words(not_granted), input.resource.environment])
	next := "use a role that is granted this, or ask whoever keeps the policy data (roles.yaml)"
}

# METADATA
# title: A planner may not write
# description: Denies roles that duties.yaml lists under never_write everything that changes data, objects or rights.
# custom: {id: SQL-PLANNER-WRITE}
deny contains {"rule": "SQL-PLANNER-WRITE", "reason": reason, "next": next} if {
	facts.is_operation
	input.subject.role in policy.duties.never_write
	writes
	on := facts.on_relations({"insert", "update", "delete", "truncate", "ddl"})
	reason := sprintf("a %s may not write: %s%s", [input.subject.role, input.operation.sql.command, on])
	next := "hand this statement to an executor, or put it into a plan"
}

writing_groups := {"write", "define", "remove", "temporary", "rights", "maintain", "rebuild"}

writes if count(facts.groups & writing_groups) > 0

writes if {
	some relation in input.operation.sql.relations
	some access in relation.access
	access in {"insert", "update", "delete", "truncate", "ddl"}
}

writes if {
	some column in input.operation.sql.columns
	column.use == "write"
}

# METADATA
# title: Settings by class
# description: Denies setting or resetting what changes names, rights, protection or grammar, unless the role's data permits its class.
# custom: {id: SQL-SETTING}
deny contains {"rule": "SQL-SETTING", "reason": reason, "next": next} if {
	input.operation.sql.settings[0]
	facts.is_operation
	facts.role_active
	some setting in input.operation.sql.settings
	not setting_permitted(setting)
	reason := sprintf("%s may not %s the setting %s", [input.subject.role, setting.action, setting.name])
	next := "leave this setting as the gateway opened the session, or have its class added to the role in roles.yaml"
}

# A rule of its own: under `not`, an undefined argument would make the whole denial undefined.
setting_permitted(setting) if facts.setting_in(setting, facts.role.settings)

# METADATA
# title: Careful functions
# description: Denies a careful role every function that is neither reviewed as safe nor a permitted built-in.
# custom: {id: SQL-FUNCTION}
deny contains {"rule": "SQL-FUNCTION", "reason": reason, "next": next} if {
	input.operation.sql.functions[0]
	facts.is_operation
	facts.role_active
	not any_function
	some function in input.operation.sql.functions
	not careful_function(function)
	reason := sprintf("%s may not call %s.%s: it may do more than compute", [input.subject.role, function.schema, function.name])
	next := "leave the function out, or have it reviewed and named under permitted in functions.yaml"
}

any_function if facts.role.functions == "any"

careful_function(function) if function.safe == true

careful_function(function) if {
	function.schema == "pg_catalog"
	function.volatility in {"immutable", "stable"}
	function.security_definer == false
	is_array(policy.functions.forbidden)
	not concat(".", [function.schema, function.name]) in policy.functions.forbidden
}

careful_function(function) if concat(".", [function.schema, function.name]) in policy.functions.permitted

# An SQL function does what its body does, which the description lists beside it: relations, columns, functions.
careful_function(function) if {
	function.language == "sql"
	function.schema != "pg_catalog"
	function.security_definer == false
}

# METADATA
# title: Catalog relations that hold values
# description: Denies roles that see labels masked the statistics, activity and secrets that the catalog holds.
# custom: {id: SQL-CATALOG}
deny contains {"rule": "SQL-CATALOG", "reason": reason, "next": next} if {
	facts.is_operation
	facts.sees_masked
	some relation in input.operation.sql.relations
	sensitive_catalog(relation)
	reason := sprintf("%s.%s holds values or statements of others, which %s sees masked", [
		relation.schema,
		relation.name,
		input.subject.role,
	])
	next := "leave this relation out, or use a role that sees every label in the clear"
}

sensitive_catalog(relation) if concat(".", [relation.schema, relation.name]) in policy.catalog.sensitive

sensitive_catalog(relation) if relation.name in policy.catalog.sensitive_names

# METADATA
# title: Catalog columns that hold secrets
# description: Denies roles that see labels masked the columns of catalog relations that hold passwords.
# custom: {id: SQL-CATALOG-COLUMN}
deny contains {"rule": "SQL-CATALOG-COLUMN", "reason": reason, "next": next} if {
	facts.is_operation
	facts.sees_masked
	some column in input.operation.sql.columns
	facts.column_key(column) in policy.catalog.sensitive_columns
	reason := sprintf("%s holds secrets, which %s sees masked", [facts.column_key(column), input.subject.role])
	next := "name the columns that you need and leave this one out"
}

# METADATA
# title: Functions that hold what others do
# description: Denies roles that see labels masked, careful with functions or not, those that show values, other sessions' statements or whole tables.
# custom: {id: SQL-CATALOG-FUNCTION}
deny contains {"rule": "SQL-CATALOG-FUNCTION", "reason": reason, "next": next} if {
	input.operation.sql.functions[0]
	facts.is_operation
	any_function
	facts.sees_masked
	some function in input.operation.sql.functions
	sensitive_function(function)
	reason := sprintf("%s.%s shows values or statements of others, which %s sees masked", [
		function.schema,
		function.name,
		input.subject.role,
	])
	next := "leave the function out, or use a role that sees every label in the clear"
}

sensitive_function(function) if concat(".", [function.schema, function.name]) in policy.functions.forbidden

sensitive_function(_) if not is_array(policy.functions.forbidden)

# Without the list every relation counts.
sensitive_catalog(_) if not catalog_listed

catalog_listed if {
	policy.catalog.sensitive
	object.subset(policy.catalog, {"sensitive": [], "sensitive_names": [], "sensitive_columns": []})
}
