package twokey.duties

import data.twokey.approval
import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: Who may review
# description: Allows a person of people.yaml with the reviewer role, in one of the approval's groups, to answer it.
# custom: {id: DUTY-REVIEW}
allow contains {"rule": "DUTY-REVIEW", "reason": reason, "next": ""} if {
	input.question == "review"
	input.context.approval.present == true
	input.subject.kind == "person"
	input.subject.name != ""
	policy.duties.review.role in input.subject.roles
	some group in reviewing_groups
	group in input.context.approval.groups
	reason := sprintf("%s reviews as a member of %s", [input.subject.name, group])
}

# The reviewer's own groups, and those of whom the reviewer stands in for.
reviewing_groups := {group | some group in input.subject.groups} | {group |
	some one in standing_in
	some group in one.groups
}

standing_in := approval.deputized(input.subject.name)

# METADATA
# title: Nobody reviews their own act
# description: Denies a review by anyone whose closure meets the requester's (the requester, its owner, its delegators, their linked identities).
# custom: {id: DUTY-REVIEW-SELF}
deny contains {"rule": "DUTY-REVIEW-SELF", "reason": reason, "next": next} if {
	input.question == "review"
	shared := {x | some x in input.subject.closure} & requesters
	count(shared) > 0
	reason := sprintf("%s may not review this act: it was asked for by or on behalf of %s", [facts.subject_name, concat(", ", shared)])
	next := "let a reviewer decide who is neither the requester, nor its owner, nor among its delegators"
}

# Of a plan also who is to carry it out.
requesters := ({x | some x in input.context.approval.requester_closure} | {x |
	some x in input.context.approval.requester_acting_closure
}) | {x | some x in input.context.plan.executor_closure}

# METADATA
# title: Only known people review
# description: Denies a review by an identity that people.yaml doesn't know, by an agent, and through someone acting for the reviewer.
# custom: {id: DUTY-REVIEW-UNKNOWN}
deny contains {"rule": "DUTY-REVIEW-UNKNOWN", "reason": reason, "next": next} if {
	input.question == "review"
	not reviewing_person
	reason := sprintf("%s may not review: only a person registered in people.yaml may, and nobody acting for one", [facts.subject_name])
	next := "let a person of the approval's groups decide"
}

reviewing_person if {
	input.subject.kind == "person"
	input.subject.name != ""
	count(input.subject.closure) > 0
	count(input.subject.actors) == 0
}

# METADATA
# title: Reviewers have the reviewer role
# description: Denies a review without the role that duties.yaml asks for, and the calls that lead to one.
# custom: {id: DUTY-REVIEW-ROLE}
deny contains {"rule": "DUTY-REVIEW-ROLE", "reason": reason, "next": next} if {
	reviewing
	not has_review_role
	reason := sprintf("%s may not review: it does not have the role %s", [facts.subject_name, policy.duties.review.role])
	next := "let a reviewer of the approval's groups decide"
}

has_review_role if policy.duties.review.role in input.subject.roles

reviewing if input.question == "review"

reviewing if {
	input.question == "call"
	called in {"twokey.approval.v1.ApprovalService/Approve", "twokey.approval.v1.ApprovalService/Deny"}
}

# METADATA
# title: Reviewers belong to the approval's groups
# description: Denies a review by someone in none of the groups that were asked.
# custom: {id: DUTY-REVIEW-GROUP}
deny contains {"rule": "DUTY-REVIEW-GROUP", "reason": reason, "next": next} if {
	input.question == "review"
	asked := {group | some group in input.context.approval.groups}
	count(reviewing_groups & asked) == 0
	reason := sprintf("%s is in none of the groups asked: %s", [facts.subject_name, concat(", ", asked)])
	next := "let a member of one of these groups decide"
}

# METADATA
# title: One principal, one verdict
# description: Denies a second review by a closure that has already answered this approval.
# custom: {id: DUTY-REVIEW-TWICE}
deny contains {"rule": "DUTY-REVIEW-TWICE", "reason": reason, "next": next} if {
	input.question == "review"
	some verdict in input.context.approval.verdicts
	some member in verdict.closure
	member in reviewing_closure
	reason := sprintf("%s has already answered this approval", [member])
	next := "let another reviewer answer"
}

# The reviewer's closure; for one of none of the groups, also whom it stands in for.
reviewing_closure := {member | some member in input.subject.closure} | {one.name |
	count({group | some group in input.subject.groups} & {group | some group in input.context.approval.groups}) == 0
	some one in standing_in
}

# METADATA
# title: Stages are answered in their order
# description: Denies a review by someone whom no rule that holds the act asks yet, because another stage comes first. Who waits for their turn sees the request.
# custom: {id: DUTY-REVIEW-STAGE}
deny contains {"rule": "DUTY-REVIEW-STAGE", "reason": reason, "next": next} if {
	input.question == "review"
	input.action.name != "approval.see"
	count(input.context.approval.rules) > 0
	count([rule | some rule in input.context.approval.rules; asked_now(rule)]) == 0
	reason := sprintf("%s is not asked yet: another stage comes first", [facts.subject_name])
	next := sprintf("let somebody of %s answer first", [concat(", ", first_groups)])
}

asked_now(rule) if not approval.terms(rule).stages

asked_now(rule) if {
	some group in stage_groups(approval.terms(rule))
	group in reviewing_groups
}

# Those of the stage that is open; where none is, whoever was asked may still answer.
stage_groups(wanted) := wanted.stages[k].groups if {
	k := approval.open_stage(wanted.stages, approval.counted(approval.asked_groups(wanted)))
	k < count(wanted.stages)
}

else := approval.asked_groups(wanted)

first_groups contains group if {
	some rule in input.context.approval.rules
	wanted := approval.terms(rule)
	wanted.stages
	some group in stage_groups(wanted)
}

# METADATA
# title: A verdict of weight needs a fresh login
# description: Denies a verdict where the terms of approvals.yaml ask for a step-up (acr, max_age_s) that the reviewer's token doesn't show.
# custom: {id: DUTY-REVIEW-STEP-UP}
deny contains {"rule": "DUTY-REVIEW-STEP-UP", "reason": reason, "next": next} if {
	input.question == "review"
	input.action.name != "approval.see"
	some rule in input.context.approval.rules
	wanted := approval.terms(rule).step_up
	not approval.authenticated(wanted)
	reason := sprintf("this verdict needs a stronger or fresher login than the one of %s [%s]", [facts.subject_name, rule])
	next := "log in again, as strongly as approvals.yaml asks for, and answer then"
}

# METADATA
# title: A review needs a requester
# description: Denies a review where the approval or who asked for it isn't known.
# custom: {id: DUTY-REVIEW-REQUESTER}
deny contains {"rule": "DUTY-REVIEW-REQUESTER", "reason": reason, "next": ""} if {
	input.question == "review"
	not requester_known
	reason := "it is not known who asked for this act, so nobody can be shown to be someone else"
}

requester_known if {
	input.context.approval.present == true
	count(input.context.approval.requester_closure) > 0
}
