package twokey.masking_test

import data.twokey.testing as t

# Values stay where they are, and their label does not.
leaving(subject, kind, target) := t.operation(subject, {
	"command": "ALTER TABLE",
	"verbs": ["sql.alter"],
	"relations": [t.relation("customers", ["ddl"])],
	"flows": [{"source": name("customers"), "target": target, "kind": kind, "through": "copy", "temporary": false, "carried": false}],
})

name(relation) := {"schema": "public", "relation": relation, "column": "email"}

nowhere := {"schema": "", "relation": "", "column": ""}

masked_executor := {"masking": {"clear": {"executor": []}}}

test_mask_store_denies_what_leaves_a_label_behind if {
	every kind, target in {"rename": name("clients"), "detach": name("clients"), "comment": nowhere} {
		t.denied_by(t.decide_with(leaving(t.executor, kind, target), masked_executor), "MASK-STORE")
		t.held_by(t.decide(leaving(t.executor, kind, target)), "MASK-WRITE-DOWN")
	}
}

test_mask_store_allows_what_keeps_the_label if {
	kept := {"public.customers.email": "email", "public.clients.email": "email"}
	every kind in ["rename", "detach"] {
		decision := t.decide_with(leaving(t.executor, kind, name("clients")), masked_executor) with data.twokey.config.classification.crm as kept
		not "MASK-STORE" in t.rules(decision)
	}
}

test_a_reason_says_how_the_label_is_lost if {
	reasons := {kind: reason.reason |
		some kind, target in {"rename": name("clients"), "comment": nowhere, "update": name("clients")}
		decision := t.decide_with(leaving(t.executor, kind, target), masked_executor)
		some reason in decision.reasons
		reason.rule == "MASK-STORE"
	}
	reasons == {
		"rename": "public.customers.email (label email) would be known as public.clients.email only, where it is seen unmasked",
		"comment": "public.customers.email (label email) would have another comment or security label, where it is seen unmasked",
		"update": "public.customers.email (label email) would be stored in public.clients.email, where it is seen unmasked",
	}
}
