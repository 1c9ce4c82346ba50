package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: A plan's session does the plan
# description: Denies, in a session that carries a plan, whatever is neither the next step, exactly as it was approved, nor harmless.
# custom: {id: DUTY-PLAN-STEP}
deny contains {"rule": "DUTY-PLAN-STEP", "reason": reason, "next": next} if {
	input.question == "operation"
	input.context.plan.present == true
	not is_next_step
	not passes
	reason := sprintf("%s [%s]", [input.context.plan.expects, input.context.plan.id])
	next := sprintf("twokey plan show %s lists the steps; send the next one by itself, as it stands there", [input.context.plan.id])
}

is_next_step if input.context.plan.fits == true

# Transaction control and harmless settings; not savepoints, which take back a part of what was done.
passes if {
	facts.harmless
	input.operation.sql.command != "SAVEPOINT"
}

# METADATA
# title: Who planned it doesn't carry it out
# description: Denies starting a plan, its session and its steps to whoever shares an acting closure with its planner (the agent, its owner, their linked identities), unless duties.yaml says plans.apart is false.
# custom: {id: DUTY-PLAN}
deny contains {"rule": "DUTY-PLAN", "reason": reason, "next": next} if {
	input.question in {"operation", "session"}
	input.context.plan.present == true
	kept_apart
	not planned_by_others
	reason := sprintf("%s may not carry out this plan: it was planned by or for %s", [facts.subject_name, concat(", ", planners)])
	next := "let an executor carry it out who is neither its planner nor of the same owner"
}

default kept_apart := true

kept_apart := false if policy.duties.plans.apart == false

planners := {x | some x in input.context.plan.requester_acting_closure}

planned_by_others if {
	count(planners) > 0
	count(input.subject.acting_closure) > 0
	count(planners & {x | some x in input.subject.acting_closure}) == 0
}

# METADATA
# title: Who planned or did it doesn't say what became of it
# description: Denies resolving an execution of which something is unknown to agents, and to whoever shares a closure with its planner or its executor.
# custom: {id: DUTY-PLAN-RESOLVE}
deny contains {"rule": "DUTY-PLAN-RESOLVE", "reason": reason, "next": next} if {
	input.question == "call"
	called == "twokey.plan.v1.PlanService/Resolve"
	input.context.plan.present == true
	not resolves_for_others
	reason := sprintf("%s may not say what became of this step: only a person may who neither planned the plan nor carries it out", [facts.subject_name])
	next := "let somebody else look at the target, and resolve it"
}

resolves_for_others if {
	input.subject.kind == "person"
	count(input.subject.actors) == 0
	count(input.context.plan.requester_closure) > 0
	count(input.context.plan.executor_closure) > 0
	behind_plan := {x | some x in input.context.plan.requester_closure} | {x | some x in input.context.plan.executor_closure}
	count(behind_plan & {x | some x in input.subject.closure}) == 0
}

# METADATA
# title: As many rows as the plan says
# description: Bounds the rows that a plan's step returns or touches to what was approved.
# custom: {id: DUTY-PLAN-ROWS}
obligations contains {"type": "max-rows", "parameters": object.union({"rows": most_rows}, least_rows)} if {
	input.question == "operation"
	input.context.plan.present == true
	is_next_step
	bounded
}

bounded if input.context.plan.rows_most >= 0

bounded if input.context.plan.rows_least > 0

default most_rows := 9007199254740991

most_rows := input.context.plan.rows_most if input.context.plan.rows_most >= 0

default least_rows := {}

least_rows := {"least": input.context.plan.rows_least} if input.context.plan.rows_least > 0
