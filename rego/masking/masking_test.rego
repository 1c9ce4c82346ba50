package twokey.masking_test

import data.twokey.testing as t

reads_email := t.operation(t.planner, t.select_email)

sql(question, patch) := object.union(question, {"operation": {"sql": patch}})

# MASK-OUTPUT
test_mask_output_allows if {
	executor := object.union(t.operation(t.executor, t.select_email), {"values": t.values("known", 1)})
	decision := t.decide(executor)
	decision.outcome == "allow"
	not t.obligation(decision, "mask-columns")
	t.decide(t.operation(t.planner, t.select_orders)).outcome == "allow"
}

test_mask_output_denies if {
	decision := t.decide(reads_email)
	decision.outcome == "mask-columns"
	decision.durability == "before"
	decision.lease == null
	t.rules(decision) == {"MASK-OUTPUT"}
	t.obligation(decision, "mask-columns") == {"columns": [{
		"schema": "public",
		"relation": "customers",
		"column": "email",
		"label": "email",
		"masker": {"type": "null"},
	}]}
	t.obligation(decision, "read-only") == {}
	t.obligation(decision, "max-rows") == {"rows": 1000}
}

test_mask_output_uses_the_masker_of_the_label if {
	question := t.operation(t.planner, object.union(t.select_orders, {
		"relations": [t.relation("cards", ["read"]), t.relation("customers", ["read"])],
		"columns": [t.column("cards", "pan", "output"), t.column("customers", "email", "output")],
		"output": [t.output("cards", "pan"), t.output("customers", "email"), t.output("cards", "pan")],
	}))
	maskers := {column.column: column.masker |
		some column in t.obligation(t.decide(question), "mask-columns").columns
	}
	maskers == {"pan": {"type": "keep-last", "n": 4, "fill": "*"}, "email": {"type": "null"}}
}

test_mask_output_prefers_the_masker_of_the_role if {
	of_roles := {"masking": {"roles": {"planner": {"email": {"type": "email"}}, "analyst": {"email": {"type": "hash"}}}}}
	obligation := t.obligation(t.decide_with(reads_email, of_roles), "mask-columns")
	obligation.columns[0].masker == {"type": "email"}
	others := {"masking": {"roles": {"analyst": {"email": {"type": "hash"}}}}}
	t.obligation(t.decide_with(reads_email, others), "mask-columns").columns[0].masker == {"type": "null"}
}

test_mask_output_denies_a_role_that_no_data_clears if {
	policy := {"roles": {"executor-lite": {
		"connect": true,
		"grants": {"*": ["read"]},
		"settings": [],
		"functions": "any",
		"opaque": "hold",
		"read_only": true,
		"statement_timeout_ms": 1000,
	}}}
	question := t.operation(t.agent("executor-7", "bob", "executor-lite"), t.select_email)
	t.decide_with(question, policy).outcome == "mask-columns"
	cleared := object.union(policy, {"masking": {"clear": {"executor-lite": ["email"]}}})
	t.decide_with(question, cleared).outcome == "allow"
}

# MASK-HASH
hashed := {"masking": {"maskers": {"email": {"type": "hash"}}}, "roles": {
	"steward": {"grants": {"*": ["read", "write"]}},
	"reader": {"grants": {"*": ["read"], "production": ["read"]}},
}}

holding(role) := object.union(reads_email, {"subject": {"roles": ["planner", role]}})

test_mask_hash_allows if {
	t.decide_with(reads_email, hashed).outcome == "mask-columns"
	t.decide_with(holding("reader"), hashed).outcome == "mask-columns"
	t.decide_with(holding("steward"), object.remove(hashed, ["masking"])).outcome == "mask-columns"
}

test_mask_hash_denies if {
	decision := t.decide_with(holding("steward"), hashed)
	t.denied_by(decision, "MASK-HASH")
	some reason in decision.reasons
	contains(reason.reason, "may write here as steward")
}

# MASK-COMPUTED
upper_email := sql(reads_email, {
	"columns": [t.column("customers", "email", "other")],
	"output": [
		t.output("customers", "id"),
		t.computed("upper", [t.source("customers", "email", "safe", "")]),
	],
})

test_mask_computed_allows if {
	executor := object.union(upper_email, {"subject": t.executor, "values": t.values("known", 1)})
	t.decide(executor).outcome == "allow"
	of_id := sql(upper_email, {"columns": [t.column("customers", "id", "other")], "output": [t.computed("n", [t.source("customers", "id", "safe", "")])]})
	t.decide(of_id).outcome == "allow"
}

test_mask_computed_denies if {
	decision := t.decide(upper_email)
	decision.outcome == "mask-columns"
	t.rules(decision) == {"MASK-COMPUTED"}
	t.obligation(decision, "mask-columns") == {
		"columns": [],
		"outputs": [{"position": 2, "label": "email", "masker": {"type": "null"}}],
	}
	decision.lease == null
}

# A copy that has no column of its own (UNION ALL), one of two labels, one beside what may be seen.
test_mask_computed_hides_every_dependence if {
	every sources in [
		[t.source("customers", "email", "copy", "")],
		[t.source("customers", "id", "copy", ""), t.source("customers", "email", "copy", "")],
		[t.source("customers", "email", "safe", ""), t.source("cards", "pan", "safe", "")],
	] {
		decision := t.decide(sql(upper_email, {"output": [t.computed("x", sources)]}))
		decision.outcome == "mask-columns"
		some output in t.obligation(decision, "mask-columns").outputs
		output.position == 1
		output.masker == {"type": "null"}
		count(t.obligation(decision, "mask-columns").outputs) == 1
	}
}

# MASK-TELLS
test_mask_tells_allows if {
	t.decide(upper_email).outcome == "mask-columns"
	t.decide(sql(upper_email, {
		"columns": [t.column("customers", "id", "other")],
		"output": [t.computed("n", [t.source("customers", "id", "tells", "pg_catalog./")])],
	})).outcome == "allow"
}

test_mask_tells_denies if {
	every through in ["tells", "else"] {
		decision := t.decide(sql(upper_email, {"output": [t.computed("n", [t.source("customers", "email", through, "pg_catalog./")])]}))
		t.denied_by(decision, "MASK-TELLS")
		some reason in decision.reasons
		contains(reason.reason, "goes through pg_catalog./")
	}
	unnamed := t.decide(sql(upper_email, {"output": [t.computed("n", [t.source("customers", "email", "tells", "")])]}))
	some reason in unnamed.reasons
	contains(reason.reason, "goes through an expression, which")
}

# A copy of one column that depends on another too: each is judged by its own way.
test_mask_computed_denies_what_a_copy_depends_on_besides if {
	unlabelled := object.union(t.output("orders", "note"), {"sources": [
		t.source("orders", "note", "copy", ""),
		t.source("customers", "email", "safe", ""),
	]})
	t.rules(t.decide(sql(upper_email, {"output": [unlabelled]}))) == {"MASK-COMPUTED"}
	labelled := object.union(t.output("customers", "email"), {"sources": [
		t.source("customers", "email", "copy", ""),
		t.source("cards", "pan", "safe", ""),
	]})
	columns := [t.column("customers", "email", "output"), t.column("cards", "pan", "other")]
	t.rules(t.decide(sql(upper_email, {"output": [labelled], "columns": columns}))) == {"MASK-OUTPUT", "MASK-COMPUTED"}
}

# MASK-INFERENCE
deciding(kind) := sql(t.operation(t.planner, t.select_orders), {
	"columns": [t.column("orders", "id", "output"), t.column("customers", "email", "other")],
	"inferences": [t.inference("customers", "email", kind, "")],
})

test_mask_inference_allows if {
	t.decide(deciding("join-foreign-key")).outcome == "allow"
	t.decide(sql(deciding("where"), {
		"columns": [t.column("customers", "id", "other")],
		"inferences": [t.inference("customers", "id", "where", "")],
	})).outcome == "allow"
	t.decide_with(deciding("where"), {"masking": {"inference": {"allow": ["where"]}}}).outcome == "allow"
}

test_mask_inference_denies if {
	every kind in ["where", "join", "group", "order", "limit", "aggregate", "exists", "estimate", "unlisted", "never heard of"] {
		decision := t.decide(deciding(kind))
		t.denied_by(decision, "MASK-INFERENCE")
		some reason in decision.reasons
		contains(reason.reason, "public.customers.email (label email) is used in ")
	}
	t.denied_by(t.decide_with(deciding("join-foreign-key"), {"masking": {"inference": {"allow": []}}}), "MASK-INFERENCE")
	by_function := sql(deciding("where"), {"inferences": [t.inference("customers", "email", "expression", "pg_catalog./")]})
	some reason in t.decide(by_function).reasons
	contains(reason.reason, "is used in an expression that can tell (pg_catalog./), which")
}

# MASK-STORE, MASK-WRITE-DOWN
storing(subject, target, temporary) := object.union(
	t.operation(subject, object.union(t.update_orders, {
		"most_rows": 1,
		"columns": [t.column("customers", "email", "other"), t.column("orders", "note", "write")],
		"flows": [t.flow(["customers", "email"], target, "insert", temporary)],
	})),
	{"values": t.values("known", 1)},
)

masked_writer := {"masking": {"clear": {"executor": []}}}

test_mask_store_allows if {
	same := object.union(storing(t.executor, ["customers", "email"], false), {"operation": {"sql": {"columns": []}}})
	t.decide_with(same, masked_writer).outcome == "allow"
}

test_mask_store_denies if {
	t.denied_by(t.decide_with(storing(t.executor, ["orders", "note"], false), masked_writer), "MASK-STORE")
	t.denied_by(t.decide_with(storing(t.executor, ["orders", "note"], true), masked_writer), "MASK-STORE")
	t.denied_by(t.decide_with(storing(t.executor, ["cards", "pan"], false), masked_writer), "MASK-STORE")
}

test_mask_write_down_allows if {
	t.decide(storing(t.executor, ["customers", "email"], false)).outcome == "allow"
	approved := object.union(storing(t.executor, ["orders", "note"], false), {"context": {"approval": t.approved}})
	t.decide(approved).outcome == "allow"
}

test_mask_write_down_denies if {
	t.held_by(t.decide(storing(t.executor, ["orders", "note"], false)), "MASK-WRITE-DOWN")
	t.held_by(t.decide(storing(t.executor, ["cards", "pan"], false)), "MASK-WRITE-DOWN")
}

# INSERT INTO notes SELECT … FROM the temporary table would be the second half of a write-down: the first is held.
test_mask_write_down_holds_the_way_through_a_temporary_table if {
	decision := t.decide(storing(t.executor, ["orders", "note"], true))
	t.held_by(decision, "MASK-WRITE-DOWN")
	some reason in decision.reasons
	contains(reason.reason, "what this session stores from there")
	approved := object.union(storing(t.executor, ["orders", "note"], true), {"context": {"approval": t.approved}})
	t.decide(approved).outcome == "allow"
}

into_own(fields) := sql(storing(t.executor, ["orders", "note"], true), {"flows": [object.union(
	t.flow(["customers", "email"], ["orders", "note"], "insert", true),
	fields,
)]})

test_mask_write_down_allows_a_temporary_table_that_the_gateway_follows if {
	t.decide(into_own({"carried": true})).outcome == "allow"
	t.denied_by(t.decide_with(into_own({"carried": true}), masked_writer), "MASK-STORE")
}

# A table that stays is nobody's to follow, and of an opaque statement nobody knows what it stored.
test_mask_write_down_denies_what_is_only_said_to_be_followed if {
	t.held_by(t.decide(into_own({"carried": true, "temporary": false})), "MASK-WRITE-DOWN")
	t.held_by(t.decide(into_own({"carried": false})), "MASK-WRITE-DOWN")
	opaque := {"opaque": true, "opaque_reasons": [{"code": "procedural-function", "detail": "f"}]}
	t.held_by(t.decide(sql(into_own({"carried": true}), opaque)), "MASK-WRITE-DOWN")
}

# What a view shows and what a column is generated from is read under its source's label.
test_mask_write_down_is_about_what_is_stored if {
	every kind in ["view", "generated"] {
		question := sql(storing(t.executor, ["orders", "note"], false), {"flows": [t.flow(["customers", "email"], ["orders", "note"], kind, false)]})
		t.decide(question).outcome == "allow"
	}
}

# MASK-OTHER
test_mask_other_allows if {
	t.decide(sql(reads_email, {"columns": [
		t.column("customers", "email", "output"),
		t.column("customers", "id", "other"),
	]})).outcome == "mask-columns"
	update := t.operation(t.executor, object.union(t.update_orders, {"columns": [t.column("customers", "email", "write")]}))
	t.decide(object.union(update, {"values": t.values("known", 1)})).outcome == "allow"
}

test_mask_other_denies if {
	decision := t.decide(sql(reads_email, {"columns": [
		t.column("customers", "email", "output"),
		t.column("customers", "email", "other"),
	]}))
	t.denied_by(decision, "MASK-OTHER")
	some reason in decision.reasons
	contains(reason.reason, "public.customers.email (label email)")
}

test_mask_other_denies_output_without_its_origin if {
	no_origin := {"schema": "", "relation": "", "column": "", "relation_oid": 0, "attribute": 0}
	t.denied_by(t.decide(sql(reads_email, {"output": [{"name": "email", "origin": no_origin, "sources": []}]})), "MASK-OTHER")
	t.denied_by(t.decide(sql(reads_email, {"output": [t.computed("email", [])]})), "MASK-OTHER")
	t.denied_by(t.decide(sql(reads_email, {"columns": [t.column("customers", "email", "other")], "output": []})), "MASK-OTHER")
	t.denied_by(t.decide(sql(reads_email, {"output": []})), "MASK-OTHER")
}

test_mask_other_denies_an_unknown_use if {
	t.denied_by(t.decide(sql(reads_email, {"columns": [t.column("customers", "email", "")]})), "MASK-OTHER")
	t.denied_by(t.decide(sql(upper_email, {"columns": [t.column("customers", "email", "")]})), "MASK-OTHER")
}

# MASK-STREAM
test_mask_stream_allows if {
	cursor := {"command": "FETCH", "verbs": ["sql.select", "sql.fetch"]}
	t.decide(t.operation(t.planner, object.union(t.select_email, cursor))).outcome == "mask-columns"
}

test_mask_stream_allows_copy_to_the_client if {
	copy := {"command": "COPY", "verbs": ["sql.copy-to", "sql.select"]}
	t.decide(t.operation(t.planner, object.union(t.select_email, copy))).outcome == "mask-columns"
}

test_mask_stream_denies if {
	every verb in ["sql.copy-server", "sql.explain"] {
		statement := object.union(t.select_email, {"verbs": ["sql.select", verb]})
		t.denied_by(t.decide(t.operation(t.planner, statement)), "MASK-STREAM")
	}
}

test_mask_stream_denies_by_output_alone if {
	statement := object.union(t.select_email, {"verbs": ["sql.select", "sql.copy-server"], "columns": []})
	t.denied_by(t.decide(t.operation(t.planner, statement)), "MASK-STREAM")
}

# MASK-OPAQUE
held_reader := {"roles": {"planner": {"opaque": "hold"}}}

opaque_read := t.operation(t.planner, object.union(t.select_orders, {"opaque": true}))

test_mask_opaque_allows if {
	elsewhere := object.union(opaque_read, {"resource": {"id": "warehouse"}})
	t.held_by(t.decide_with(elsewhere, held_reader), "SQL-OPAQUE")
}

test_mask_opaque_denies if {
	t.denied_by(t.decide_with(opaque_read, held_reader), "MASK-OPAQUE")
	approved := object.union(opaque_read, {"context": {"approval": t.approved}})
	t.denied_by(t.decide_with(approved, held_reader), "MASK-OPAQUE")
}

test_mask_other_allows_a_masked_role_to_write_what_it_may_not_read if {
	policy := {"masking": {"clear": {"executor": []}}}
	write := object.union(t.update_orders, {"columns": [t.column("customers", "email", "write")]})
	question := object.union(t.operation(t.executor, write), {"values": t.values("known", 1)})
	t.decide_with(question, policy).outcome == "allow"
}

# Labels of the target's own catalog count like those of the file.
test_mask_output_masks_what_only_the_catalog_labels if {
	question := sql(t.operation(t.planner, t.select_orders), {"column_labels": [{
		"schema": "public",
		"relation": "orders",
		"column": "id",
		"labels": ["pan"],
	}]})
	t.obligation(t.decide(question), "mask-columns").columns[0].label == "pan"
}

# `pan` keeps four characters, `email` none: whoever may comment on a column must not choose the weaker.
test_mask_output_of_two_labels_is_the_strictest if {
	question := sql(reads_email, {"column_labels": [{
		"schema": "public",
		"relation": "customers",
		"column": "email",
		"labels": ["pan", "aaa"],
	}]})
	t.obligation(t.decide(question), "mask-columns").columns[0].masker == {"type": "null"}
}

test_mask_opaque_denies_where_only_the_catalog_has_labels if {
	opaque := {"command": "DO", "verbs": ["sql.do"], "opaque": true, "target_labels": ["pan"]}
	decision := data.twokey.main.decision with input as t.operation(t.planner, opaque)
		with data.twokey.config as classified({})
	"MASK-OPAQUE" in t.rules(decision)
}

# SELECT entry FROM diary_1, a partition of diary: one value under two names.
from_partition := object.union(t.select_orders, {
	"relations": [t.relation("diary_1", ["read"])],
	"columns": [t.column("diary", "entry", "output"), t.column("diary_1", "entry", "output")],
	"output": [object.union(t.output("diary_1", "entry"), {"sources": [
		t.source("diary_1", "entry", "copy", ""),
		t.source("diary", "entry", "copy", ""),
	]})],
})

with_labels(labels) := decision if {
	decision := data.twokey.main.decision with input as t.operation(t.planner, from_partition)
		with data.twokey.config as classified(labels)
}

classified(labels) := object.union(object.remove(t.config, ["classification"]), {"classification": {"crm": labels}})

test_mask_output_masks_under_each_name_of_a_column if {
	every labels in [
		{"public.diary.entry": "email"},
		{"public.diary_1.entry": "email"},
		{"public.diary.entry": "email", "public.diary_1.entry": "email"},
	] {
		decision := with_labels(labels)
		t.rules(decision) == {"MASK-OUTPUT"}
		t.obligation(decision, "mask-columns").columns[0].relation == "diary_1"
	}
}

# The parent's label has one masker, the partition's another: neither alone would do for the other.
test_mask_output_of_two_names_is_the_strictest if {
	decision := with_labels({"public.diary.entry": "email", "public.diary_1.entry": "pan"})
	t.obligation(decision, "mask-columns").columns == [{
		"schema": "public",
		"relation": "diary_1",
		"column": "entry",
		"label": "email",
		"masker": {"type": "null"},
	}]
}

# A name that is not one of the value's is no name to mask it by.
test_mask_other_denies_what_no_output_column_is_a_copy_of if {
	sql_ := object.union(from_partition, {"output": [t.output("diary_1", "entry")]})
	decision := data.twokey.main.decision with input as t.operation(t.planner, sql_)
		with data.twokey.config as classified({"public.diary.entry": "email"})
	decision.outcome == "deny"
	t.rules(decision) == {"MASK-OTHER"}
}

# A connection that no file classifies: what its target's catalog labels counts all the same, and nothing else does.
test_labels_of_the_catalog_alone_hide if {
	labelled := {"column_labels": [{"schema": "public", "relation": "customers", "column": "email", "labels": ["email"]}]}
	elsewhere := object.union(reads_email, {"resource": {"id": "bare"}})
	t.decide(elsewhere).outcome == "allow"
	t.rules(t.decide(sql(elsewhere, labelled))) == {"MASK-OUTPUT"}
	moved := sql(object.union(t.operation(t.executor, t.update_orders), {"resource": {"id": "bare"}}), {"flows": [t.flow(
		["customers", "email"],
		["orders", "note"],
		"update",
		false,
	)]})
	not "MASK-WRITE-DOWN" in t.rules(t.decide(moved))
	"MASK-WRITE-DOWN" in t.rules(t.decide(sql(moved, labelled)))
}

# A role that one list clears of some labels still sees the others masked.
test_a_role_cleared_of_one_label_is_hidden_the_others if {
	clear := {"masking": {"clear": {"planner": ["pan"]}}}
	t.rules(t.decide_with(reads_email, clear)) == {"MASK-OUTPUT"}
	t.decide_with(reads_email, {"masking": {"clear": {"planner": ["email"]}}}).outcome == "allow"
}
