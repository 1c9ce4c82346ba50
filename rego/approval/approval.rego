# METADATA
# title: Approval
# description: The terms of an approval, and whether the verdicts given satisfy them under the live data.
package twokey.approval

import data.twokey.config
import data.twokey.config.policy
import data.twokey.duties

# The terms under which acts that this rule holds are released.
terms(rule) := object.get(policy.approvals.rules, rule, policy.approvals["default"])

# Everyone whom this rule's terms name, and how many answers they add up to.
asked_groups(wanted) := ({group | some group in object.get(wanted, "groups", [])} | {group |
	some part in object.get(wanted, "all", [])
	some group in part.groups
}) | {group |
	some stage in object.get(wanted, "stages", [])
	some group in stage.groups
}

asked_quorum(wanted) := max([
	1,
	object.get(wanted, "quorum", 1),
	sum([seats(part) | some part in object.get(wanted, "all", [])]),
	sum([seats(stage) | some stage in object.get(wanted, "stages", [])]),
])

# How many answers a part of the terms asks for: at least one, whatever it says.
seats(part) := max([1, object.get(part, "quorum", 1)])

# Several groups that must all answer, in any order or in this one.
parted(wanted) if wanted.all

parted(wanted) if wanted.stages

# METADATA
# title: Requester and approver are different principals
# description: Counts a verdict only from a person of people.yaml, not revoked since, whose closure meets neither the requester's nor another counted verdict's; as many as the terms ask for, of each group that must answer, in the order of the stages, each as old as the cooling-off.
# custom: {id: DUTY-VERDICT}
satisfied(rule) if {
	input.question == "operation"
	input.context.approval.present == true
	wanted := terms(rule)
	enough(wanted, cooled(counted(asked_groups(wanted)), object.get(wanted, "cooling_s", 0)))
}

# Under the live terms, and as many of those who were asked then as were asked for then.
enough(wanted, found) if {
	count(found) >= asked_quorum(wanted)
	count(counted(asked_groups(wanted) | {group | some group in input.context.approval.groups})) >= input.context.approval.quorum
	matched(object.get(wanted, "all", []), found)
	staged(object.get(wanted, "stages", []), found)
}

# Nobody's yes counts for two groups: for every choice of parts there are as many people as they ask for together (Hall).
matched(parts, found) if {
	count(parts) <= 8
	every choice in numbers.range(0, bits.lsh(1, count(parts)) - 1) {
		chosen := [part | some i, part in parts; bits.and(choice, bits.lsh(1, i)) != 0]
		able := {i |
			some i in found
			some part in chosen
			sits(i, part.groups)
		}
		count(able) >= sum([seats(part) | some part in chosen])
	}
}

# Each stage is answered by people who came after the one before was complete.
staged(stages, found) if {
	count(stages) <= 4
	after(stages, 3, found, after(stages, 2, found, after(stages, 1, found, after(stages, 0, found, -1))))
}

# The place of the verdict that completes stage k, where the one before was completed by `last`. Undefined: it is open.
after(stages, k, _, last) := last if k >= count(stages)

after(stages, k, found, last) := able[seats(stages[k]) - 1] if {
	able := sort([i |
		some i in found
		i > last
		sits(i, stages[k].groups)
	])
}

# The first stage that isn't complete. Undefined where all are.
open_stage(stages, found) := min(left) if {
	ends := [
		[0 | after(stages, 0, found, -1)],
		[1 | after(stages, 1, found, after(stages, 0, found, -1))],
		[2 | after(stages, 2, found, after(stages, 1, found, after(stages, 0, found, -1)))],
		[3 | after(stages, 3, found, after(stages, 2, found, after(stages, 1, found, after(stages, 0, found, -1))))],
	]
	left := {k | some k, end in ends; count(end) == 0}
}

# Verdicts that have stood so long: until then a no can still come, or the requester can take it back.
cooled(found, 0) := found

cooled(found, seconds) := {i |
	some i in found
	input.context.approval.verdicts[i].age_s >= seconds
} if {
	seconds != 0
}

# Seconds until the next verdict has cooled off, where nothing else is missing for this rule.
again_s(rule) := min(left) if {
	wanted := terms(rule)
	seconds := wanted.cooling_s
	found := counted(asked_groups(wanted))
	enough(wanted, found)
	left := {rest |
		some i in found
		rest := seconds - input.context.approval.verdicts[i].age_s
		rest > 0
	}
}

# Indexes of the verdicts that count: valid ones whose closure meets no earlier valid one's. They are pairwise disjoint.
counted(groups) := {i |
	some i in valid(groups)
	every j in valid(groups) { apart(i, j) }
}

apart(i, j) if j >= i

apart(i, j) if {
	j < i
	disjoint(behind[i], behind[j])
}

valid(groups) := {i |
	some i, verdict in input.context.approval.verdicts
	verdict.approve == true
	verdict.in_people == true
	verdict.revoked == false
	assigned(verdict)
	verdict.kind == "person"
	count(verdict.closure) > 0
	count(input.context.approval.requester_closure) > 0
	disjoint(behind[i], input.context.approval.requester_closure)
	disjoint(verdict.closure, input.subject.closure)
	sits(i, groups)
}

sits(i, groups) if {
	some group in input.context.approval.verdicts[i].groups
	group in groups
}

sits(i, groups) if {
	some one in stood_for[i]
	some group in one.groups
	group in groups
}

# METADATA
# title: A deputy answers as whom it stands in for
# description: Lets a deputy of approvals.yaml answer for a named person in that person's groups, while it is in force, and nowhere where that person couldn't answer; both count as one.
# custom: {id: DUTY-DEPUTY}
stood_for[i] contains one if {
	policy.approvals.deputies
	some i, verdict in input.context.approval.verdicts
	some one in deputized(verdict.name)
}

# Whom `name` may stand in for now: they are of people.yaml, and not behind the request.
deputized(name) := {{"name": one.name, "groups": object.get(one, "groups", [])} |
	some deputy in object.get(policy.approvals, "deputies", [])
	deputy.by == name
	in_force(deputy)
	some one in config.people.principals
	one.name == deputy.for
	not one.name in input.context.approval.requester_closure
	not one.name in input.context.approval.requester_acting_closure
}

in_force(deputy) if not deputy.until

in_force(deputy) if input.context.time_ns < time.parse_rfc3339_ns(deputy.until)

# Who is behind a verdict: the reviewer's closure, and whom a reviewer of none of the groups stands in for.
behind[i] := {member | some member in verdict.closure} | {one.name |
	not in_own_name(verdict)
	some one in object.get(stood_for, i, set())
} if {
	some i, verdict in input.context.approval.verdicts
}

in_own_name(verdict) if {
	some group in verdict.groups
	group in input.context.approval.groups
}

# Where duties.yaml assigns roles, the reviewer's must still be one of them.
assigned(_) if not policy.duties.assignments

assigned(verdict) if policy.duties.review.role in duties.inherited(object.get(policy.duties.assignments, verdict.name, []))

approves(verdict) if verdict.approve == true

disjoint(a, b) if count({x | some x in a} & {x | some x in b}) == 0

# METADATA
# title: A refusal stays a refusal
# description: Denies an act when any verdict on its approval refuses it.
# custom: {id: DUTY-REFUSED}
deny contains {"rule": "DUTY-REFUSED", "reason": reason, "next": next} if {
	input.question == "operation"
	input.context.approval.present == true
	some verdict in input.context.approval.verdicts
	not approves(verdict)
	reason := sprintf("the reviewer %s refused this act", [verdict.name])
	next := "talk to the reviewer, or change the statement and ask again"
}

# METADATA
# title: A login that is strong and fresh enough
# description: Compares what the token says of its login (acr, auth_time) with what is asked for; what it doesn't say is not fulfilled.
authenticated(wanted) if {
	level_fits(wanted)
	age_fits(wanted)
}

level_fits(wanted) if not wanted.acr

level_fits(wanted) if input.context.authentication.acr in wanted.acr

age_fits(wanted) if not wanted.max_age_s

age_fits(wanted) if {
	input.context.authentication.age_s >= 0
	input.context.authentication.age_s <= wanted.max_age_s
}
