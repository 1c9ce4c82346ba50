# METADATA
# title: Approval
# description: The terms of an approval, and whether the verdicts given satisfy them under the live data.
package twokey.approval

import data.twokey.config.policy

# The terms under which acts that this rule holds are released.
terms(rule) := object.get(policy.approvals.rules, rule, policy.approvals["default"])

# METADATA
# title: Requester and approver are different principals
# description: Counts a verdict only from a person of people.yaml whose closure meets neither the requester's nor another counted verdict's.
# custom: {id: DUTY-VERDICT}
satisfied(rule) if {
	input.question == "operation"
	input.context.approval.present == true
	wanted := terms(rule)
	count(counted(wanted.groups)) >= max([1, wanted.quorum, input.context.approval.quorum])
}

# Indexes of the verdicts that count: valid ones whose closure meets no earlier valid one's. They are pairwise disjoint.
counted(groups) := {i |
	some i in valid(groups)
	every j in valid(groups) { apart(i, j) }
}

apart(i, j) if j >= i

apart(i, j) if {
	j < i
	disjoint(input.context.approval.verdicts[i].closure, input.context.approval.verdicts[j].closure)
}

valid(groups) := {i |
	some i, verdict in input.context.approval.verdicts
	verdict.approve == true
	verdict.in_people == true
	verdict.kind == "person"
	count(verdict.closure) > 0
	count(input.context.approval.requester_closure) > 0
	disjoint(verdict.closure, input.context.approval.requester_closure)
	disjoint(verdict.closure, input.subject.closure)
	some group in verdict.groups
	group in groups
}

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
