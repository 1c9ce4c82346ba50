package twokey.facts_test

import data.twokey.facts
import data.twokey.testing as t

test_an_environment_nobody_named_is_the_strict_one if {
	table := {"*": "strict", "test": "relaxed"}
	every name, entry in {"test": "relaxed", "production": "strict", "": "strict", "*": "strict"} {
		asked := object.union(t.session(t.planner), {"resource": {"environment": name}})
		facts.for_environment(table) == entry with input as asked
	}
}

test_an_environment_without_any_entry_is_nothing if {
	not strictest with input as t.session(t.planner)
}

strictest := facts.for_environment({"test": "relaxed"})

test_a_verb_that_no_group_knows_is_outside_of_all if {
	asked := t.operation(t.planner, {"verbs": ["sql.new"]})
	facts.verbs_outside({"read", "write"}) == {"sql.new"} with input as asked
	facts.verbs_inside({"read", "write"}) == set() with input as asked
}

test_a_setting_is_of_every_class_that_lists_it if {
	policy := {"settings": {"classes": {"a": ["x"], "b": ["x", "y"]}}}
	facts.setting_classes("x") == {"a", "b"} with data.twokey.config.policy as policy
	facts.setting_classes("z") == set() with data.twokey.config.policy as policy
}

test_a_role_that_no_data_clears_sees_every_label_masked if {
	facts.masked_label("email") with input as t.session(t.planner)
	not facts.masked_label("email") with input as t.session(t.executor)
}

test_a_name_with_a_dot_is_another_column if {
	facts.column_key({"schema": "a.b", "relation": "c", "column": "d"}) == `"a.b".c.d`
	facts.column_key({"schema": "a", "relation": "b.c", "column": "d"}) == `a."b.c".d`
	facts.column_key({"schema": "a", "relation": `b"c`, "column": "d"}) == `a."b""c".d`
	facts.column_key({"schema": "Public", "relation": "My Table", "column": "d"}) == "Public.My Table.d"
	facts.column_key({"schema": "a", "relation": "b ", "column": "d"}) == `a."b ".d`
	facts.column_key({"schema": "a", "relation": "b\u00a0", "column": "d"}) == "a.\"b\u00a0\".d"
	facts.column_key({"schema": "größe", "relation": "b$1", "column": "d-e"}) == "größe.b$1.d-e"
	facts.column_key({"schema": "", "relation": "a.b", "column": ""}) == `."a.b".`
}

labelled(labels) := object.union(t.operation(t.planner, t.select_orders), {"operation": {"sql": {
	"column_labels": [{"schema": "public", "relation": "customers", "column": "email", "labels": labels}],
	"target_labels": labels,
}}})

email := {"schema": "public", "relation": "customers", "column": "email"}

id := {"schema": "public", "relation": "orders", "column": "id"}

test_labels_of_file_and_catalog_add_up if {
	facts.labels_of(email) == {"email", "contact"} with input as labelled(["contact"])
	facts.labels_of(email) == {"email"} with input as labelled([])
	facts.labels_of(id) == set() with input as labelled(["contact"])
	not facts.label_of(id) with input as labelled(["contact"])
	facts.connection_labels == {"email", "pan", "contact"} with input as labelled(["contact"])
}

# A label that the target gives never takes away what the file says.
test_a_further_label_only_tightens if {
	clear_contact := {"masking": {"clear": {"planner": ["contact"]}}}
	clear_email := {"masking": {"clear": {"planner": ["email"]}}}
	every clear in [clear_contact, clear_email] {
		label := facts.label_of(email) with input as labelled(["contact"])
			with data.twokey.config.policy as object.union(data.twokey.config.policy, clear)
		not label in clear.masking.clear.planner
	}
	clear_both := {"masking": {"clear": {"planner": ["contact", "email"]}}}
	facts.masked_labels(email) == set() with input as labelled(["contact"])
		with data.twokey.config.policy as object.union(data.twokey.config.policy, clear_both)
}
