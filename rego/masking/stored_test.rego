package twokey.masking_test

import data.twokey.testing as t

defining(subject, command, relations) := object.union(
	t.operation(subject, {"command": command, "verbs": ["sql.alter"], "relations": [t.relation(name, ["ddl"]) | some name in relations]}),
	{"resource": {"environment": "development"}},
)

cleared_of_email := {"masking": {"clear": {"executor": ["email"]}}}

cleared_of_all := {"masking": {"clear": {"executor": ["*"]}}}

labelled_there(asked) := object.union(asked, {"operation": {"sql": {"target_labels": ["contact"]}}})

# MASK-STORED
test_mask_stored_allows if {
	every asked in [
		defining(t.executor, "CLUSTER", ["orders"]),
		defining(t.executor, "CLUSTER", ["customers"]), # its label is one that the role sees
		defining(t.executor, "ALTER TABLE", ["orders", "customers"]),
		defining(t.executor, "ALTER TABLE", ["cards"]),
		defining(t.executor, "CREATE TABLE", ["orders", "cards"]),
		object.union(defining(t.executor, "ALTER TABLE", ["orders", "cards"]), {"operation": {"sql": {"relations": [
			t.relation("orders", ["ddl"]),
			t.relation("cards", ["read"]),
		]}}}),
	] {
		not "MASK-STORED" in t.rules(t.decide_with(asked, cleared_of_email))
	}
	every asked in [
		defining(t.executor, "ALTER DOMAIN", []),
		labelled_there(defining(t.executor, "CLUSTER", ["orders"])),
	] {
		not "MASK-STORED" in t.rules(t.decide_with(asked, cleared_of_all))
	}
}

test_mask_stored_denies if {
	every asked in [
		defining(t.executor, "ALTER DOMAIN", []),
		defining(t.executor, "CLUSTER", []),
		defining(t.executor, "CLUSTER", ["cards"]),
		defining(t.executor, "ALTER TABLE", ["orders", "cards"]),
		labelled_there(defining(t.executor, "CLUSTER", ["orders"])),
		labelled_there(defining(t.executor, "ALTER TABLE", ["orders", "lines"])),
	] {
		t.denied_by(t.decide_with(asked, cleared_of_email), "MASK-STORED")
	}
	t.denied_by(t.decide(defining(t.planner, "ALTER DOMAIN", [])), "MASK-STORED")
}

cleared_of_two := {"masking": {"clear": {"executor": ["email", "contact"]}}}

# A role that sees some label masked, where none of what is looked at has one of those.
test_mask_stored_is_about_labels_that_are_there_and_masked if {
	every asked in [
		object.union(defining(t.executor, "CLUSTER", []), {"resource": {"id": "warehouse"}}),
		object.union(defining(t.executor, "ALTER DOMAIN", []), {"resource": {"id": "warehouse"}}),
		labelled_there(defining(t.executor, "CLUSTER", ["orders"])),
		labelled_there(defining(t.executor, "ALTER TABLE", ["orders", "lines"])),
	] {
		not "MASK-STORED" in t.rules(t.decide_with(asked, cleared_of_two))
	}
	seen := object.union(classified({"public.customers.email": "email"}), {"policy": cleared_of_two})
	every command in ["ALTER DOMAIN", "CLUSTER"] {
		decision := data.twokey.main.decision with input as defining(t.executor, command, []) with data.twokey.config as seen
		not "MASK-STORED" in t.rules(decision)
	}
}

test_mask_stored_is_not_about_reading_a_statement if {
	asked := object.union(defining(t.executor, "CLUSTER", ["cards"]), {"question": "read", "action": {"name": "statement.read"}})
	denied := data.twokey.masking.deny with input as asked with data.twokey.config as t.config_with(cleared_of_email)
	count({why | some why in denied; why.rule == "MASK-STORED"}) == 0
}
