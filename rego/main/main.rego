# METADATA
# title: Main
# description: Combines what contributors say, and adds nothing. Deny over require-approval over mask-columns over allow; without an allow, deny.
package twokey.main

import data.twokey.approval
import data.twokey.authzen
import data.twokey.duties
import data.twokey.facts
import data.twokey.masking
import data.twokey.obligations as attached
import data.twokey.sql

# A question of another application is permitted by AuthZEN's rules alone; for every other they are not looked at.
permits := authzen.allow if input.question == "access"

else := approval.allow if input.question == "request"

else := (sql.allow | duties.allow) | masking.allow

denials := authzen.deny | duties.deny if input.question == "access"

else := (((sql.deny | masking.deny) | duties.deny) | approval.deny) | attached.deny

requires := authzen.require if input.question == "access"

else := sql.require | masking.require

masks := masking.mask

# What the verdicts given don't release.
open_requires := authzen.open if input.question == "access"

else := {held |
	some held in requires
	not approval.satisfied(held.rule)
}

# Every rule that holds the act must be released by the same people: the groups that all of them accept. Where one asks
# several groups, each rule's are asked, and each must be released.
groups := union(accepted_groups) if {
	some held in requires
	approval.parted(approval.terms(held.rule))
}

else := intersection(accepted_groups)

accepted_groups := {accepted |
	some held in requires
	accepted := approval.asked_groups(approval.terms(held.rule))
}

quorums := {quorum |
	some held in requires
	quorum := approval.asked_quorum(approval.terms(held.rule))
}

expiries := {seconds |
	some held in requires
	seconds := approval.terms(held.rule).expires_s
}

readable if {
	input.version == 1
	input.question in {"operation", "session", "review", "call", "read", "access", "request"}
	facts.whole
}

# METADATA
# title: The outcome
# description: A denial unless everything says otherwise, in the order deny, require-approval, mask-columns, allow.
default outcome := "deny"

outcome := "require-approval" if {
	passable
	open_requires != set()
} else := passed if {
	passable
	needs == []
}

passed := "allow" if masks == set()

else := "mask-columns"

# Permitted, not denied, and held (if at all) by rules that one review can release.
passable if {
	readable
	facts.complete
	permits != set()
	denials == set()
	releasable
}

releasable if requires == set()

else if count(groups) > 0

# Asked for only where nothing else decides already.
default needs := []

needs := [need | some need in ((sql.needs | masking.needs) | duties.needs)] if {
	passable
	open_requires == set()
}

# What the outcome rests on, as {rule, reason, next}; the denials' own first.
because := permits | requires if outcome == "allow"

else := masks if outcome == "mask-columns"

else := open_requires if outcome == "require-approval"

else := denials if denials != set()

else := requires if not releasable

else := set()

reasons := [{"rule": why.rule, "reason": why.reason, "next": why.next} | some why in (because | main_reasons)]

# METADATA
# title: Why main itself denies
# description: The question can't be read, the data is incomplete, nothing permits it, rules ask for different reviewers, or more must be known.
# custom: {id: MAIN}
main_reasons contains why if {
	outcome == "deny"
	denials == set()
	some why in fallbacks
}

fallbacks contains {
	"rule": "MAIN-QUESTION",
	"reason": "the question is not one that this policy can read",
	"next": "run gateway and policy of the same version",
} if {
	not readable
}

fallbacks contains {
	"rule": "MAIN-DATA",
	"reason": "the policy data is incomplete",
	"next": "compare the policy data with the shipped files; twokey doctor names what is missing",
} if {
	readable
	not facts.complete
}

fallbacks contains {
	"rule": "MAIN-NO-RULE",
	"reason": "no rule permits this",
	"next": "ask whoever keeps the policy whether a rule should",
} if {
	readable
	permits == set()
}

fallbacks contains {
	"rule": "MAIN-GROUPS",
	"reason": "the rules that hold this ask for reviewers of different groups, and no group satisfies them all",
	"next": "split the statement, or have approvals.yaml name a common group",
} if {
	readable
	permits != set()
	not releasable
}

fallbacks contains {
	"rule": "MAIN-NEEDS",
	"reason": sprintf("the decision needs to know more: %s", [concat(", ", needs)]),
	"next": "",
} if {
	count(needs) > 0
}

# METADATA
# title: Obligations
# description: The contributors' own, and the masked columns together in one.
obligations contains obligation if {
	released
	input.question == "access"
	some obligation in authzen.obligations
}

obligations contains obligation if {
	released
	some obligation in (((sql.obligations | attached.obligations) | duties.obligations) | masking.obligations)
}

obligations contains {"type": "mask-columns", "parameters": object.union({"columns": columns}, masked_outputs)} if {
	outcome == "mask-columns"
	columns := [column | some column in {masked.column | some masked in masks}]
}

# Those that are masked by their place in the result, where there are any.
default masked_outputs := {}

masked_outputs := {"outputs": outputs} if {
	outputs := [output | some output in {object.get(masked, "output", null) | some masked in masks}; output != null]
	count(outputs) > 0
}

released if outcome == "allow"

released if outcome == "mask-columns"

# METADATA
# title: Leases
# description: Only an unmasked allow, given on the shape, that nothing held.
default lease := null

lease := {"ttl_ms": min({granted.ttl_ms | some granted in sql.leases})} if {
	input.context.history.present == false
	input.values.present == false
	outcome == "allow"
	requires == set()
	masking.counts == set()
}

default window := null

# One that was granted without a window has none: the intent is durable before the act.
window := {
	"records": min({window.records | some window in windows}),
	"delay_ms": min({window.delay_ms | some window in windows}),
} if {
	lease != null
	windows := {granted.window | some granted in sql.leases}
	not null in windows
}

default durability := "before"

durability := "windowed" if window != null

default approval_terms := null

approval_terms := object.union(
	{
		"groups": [group | some group in groups],
		"quorum": max(quorums | {1}),
		"expires_s": min(expiries),
	},
	cooling,
) if {
	outcome == "require-approval"
}

# Only time is missing: when to look again.
default cooling := {}

cooling := {"again_s": max(waits)} if {
	waits := {seconds |
		some held in open_requires
		seconds := approval.again_s(held.rule)
	}
	count(waits) == count({held.rule | some held in open_requires})
	count(waits) > 0
}

# METADATA
# title: The decision
# description: The answer to every question, always defined; docs/architecture.md describes its fields.
# entrypoint: true
decision := {
	"outcome": outcome,
	"reasons": reasons,
	"obligations": [obligation | some obligation in obligations],
	"needs": needs,
	"approval": approval_terms,
	"lease": lease,
	"durability": durability,
	"window": window,
	"counts": [counted | some counted in masking.counts],
}
