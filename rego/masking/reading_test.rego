package twokey.masking_test

import data.twokey.testing as t

# MASK-READ, MASK-LITERAL, MASK-READ-OPAQUE
read(reader, statement) := object.union(t.operation(reader, statement), {"question": "read", "action": {"name": "statement.read", "verbs": []}})

dora := t.person("dora", ["auditor"], "", [])

cleared := {"masking": {"clear": {"auditor": ["email"]}}}

writes_email := object.union(t.update_orders, {"columns": [t.column("customers", "email", "write")]})

test_mask_read_allows if {
	t.decide(read(dora, t.select_orders)).outcome == "allow"
	t.decide(read(t.carol, t.update_orders)).outcome == "allow"
}

test_mask_read_denies if {
	t.decide(object.union(read(dora, t.select_orders), {"operation": {"kind": ""}})).outcome == "deny"
	unlabelled := object.union(read(dora, t.select_orders), {"resource": {"id": "warehouse"}})
	t.decide(unlabelled).outcome == "allow"
	t.decide(object.union(unlabelled, {"operation": {"kind": ""}})).outcome == "deny"
	t.decide(object.remove(read(dora, t.select_orders), ["operation"])).outcome == "deny"
	partial := json.remove(read(dora, t.select_orders), ["/operation/sql/literals"])
	t.decide(partial).outcome == "deny"
}

test_mask_literal_allows if {
	every statement in [t.select_email, writes_email] {
		t.decide_with(read(dora, statement), cleared).outcome == "allow"
		t.decide_with(read(dora, statement), {"masking": {"clear": {"auditor": ["*"]}}}).outcome == "allow"
	}
	also_executor := object.union(dora, {"roles": ["auditor", "executor"]})
	t.decide(read(also_executor, writes_email)).outcome == "allow"
}

test_mask_literal_denies if {
	name := {"schema": "public", "relation": "customers", "column": "email"}
	every statement in [
		t.select_email,
		writes_email,
		object.union(t.select_orders, {"inferences": [t.inference("customers", "email", "where", "")]}),
		object.union(t.select_orders, {"output": [t.computed("x", [t.source("customers", "email", "safe", "")])]}),
		object.union(t.select_orders, {"flows": [t.flow(["orders", "note"], ["customers", "email"], "insert", false)]}),
		object.union(t.select_orders, {"flows": [t.flow(["customers", "email"], ["orders", "note"], "insert", false)]}),
		object.union(t.select_orders, {"literals": [{"constant": 1, "parameter": 0, "columns": [name]}]}),
	] {
		decision := t.decide(read(dora, statement))
		decision.outcome == "mask-columns"
		t.rules(decision) == {"MASK-LITERAL"}
		t.obligation(decision, "mask-columns").columns == [object.union(name, {"label": "email", "masker": {"type": "null"}})]
	}
}

test_mask_literal_denies_what_only_the_catalog_labels if {
	labelled := object.union(t.select_orders, {"column_labels": [{
		"schema": "public",
		"relation": "orders",
		"column": "id",
		"labels": ["pan"],
	}]})
	t.decide(read(dora, labelled)).outcome == "mask-columns"
}

test_mask_read_opaque_allows if {
	t.decide_with(read(dora, t.do_block), {"masking": {"clear": {"auditor": ["*"]}}}).outcome == "allow"
	elsewhere := object.union(read(dora, t.do_block), {"resource": {"id": "warehouse"}})
	t.decide(elsewhere).outcome == "allow"
}

test_mask_read_opaque_denies if {
	t.denied_by(t.decide(read(dora, t.do_block)), "MASK-READ-OPAQUE")
	t.denied_by(t.decide_with(read(dora, t.do_block), cleared), "MASK-READ-OPAQUE")
}

# A role that the reader doesn't hold, or a label nobody is cleared for.
test_reading_follows_the_readers_own_roles if {
	t.decide_with(read(object.union(dora, {"roles": ["admin"]}), writes_email), cleared).outcome == "mask-columns"
	t.decide(read(t.carol, writes_email)).outcome == "allow"
	t.decide_with(read(t.carol, writes_email), {"masking": {"clear": {"reviewer": ["pan"]}}}).outcome == "mask-columns"
	t.decide(read(object.union(dora, {"roles": []}), writes_email)).outcome == "mask-columns"
}
