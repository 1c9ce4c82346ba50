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
