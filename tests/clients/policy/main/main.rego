# METADATA
# title: Everything is allowed
# description: What the clients' tests run under, so that any difference to direct access is the gateway's, not policy's. Reads are leased as in the shipped policy, so that both ways through the gateway are walked.
package twokey.main

default leasable := false

leasable if {
	input.question == "operation"
	input.values.present == false
	input.operation.sql.opaque == false
	count(input.action.verbs) > 0
	every verb in input.action.verbs { verb in {"sql.select", "sql.transaction", "sql.show"} }
}

default lease := null

lease := {"ttl_ms": 30000} if leasable

default window := null

window := {"records": 256, "delay_ms": 50} if leasable

default durability := "before"

durability := "windowed" if leasable

# METADATA
# title: The decision
# description: Allow, whatever is asked.
# entrypoint: true
decision := {
	"outcome": "allow",
	"reasons": [{"rule": "TEST-ALLOW", "reason": "everything is allowed here", "next": ""}],
	"obligations": [],
	"needs": [],
	"approval": null,
	"lease": lease,
	"durability": durability,
	"window": window,
}
