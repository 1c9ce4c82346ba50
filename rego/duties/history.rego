package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: The past is looked up where it counts
# description: Asks for the closure's history where a duty depends on it; nothing is asked where none is configured.
# custom: {id: DUTY-PAST}
needs contains "history" if {
	past_counts
	input.context.history.present == false
}

past_counts if {
	policy.duties.walls
	input.question == "session"
	some wall in policy.duties.walls
	dataset(wall, input.resource.id)
}

past_counts if {
	policy.duties.cooling
	input.question == "session"
	some pause in policy.duties.cooling
	input.subject.role in pause.roles
	fits(pause)
}

past_counts if {
	policy.duties.review.reciprocal_days > 0
	input.question == "review"
}

past_counts if {
	policy.duties.review.policy_author_days > 0
	input.question == "review"
}

past_counts if {
	policy.duties.processes
	count(taken) > 0
}

# Those of the subject's own closure: in a review there are others' too.
past contains act if {
	some act in input.context.history.acts
	act.element in input.subject.closure
}

# METADATA
# title: Chinese wall
# description: Denies opening a connection of one dataset to whoever's closure has opened one of another dataset of the same conflict class (Brewer-Nash).
# custom: {id: DUTY-WALL}
deny contains {"rule": "DUTY-WALL", "reason": reason, "next": next} if {
	input.question == "session"
	some wall in policy.duties.walls
	mine := dataset(wall, input.resource.id)
	some visited in visits
	other := dataset(wall, visited)
	other != mine
	reason := sprintf("%s, its owner or a delegator has been in %s, which conflicts with %s (%s)", [
		facts.subject_name,
		other,
		mine,
		wall.name,
	])
	next := "let a principal do this who has not seen the other side"
}

# METADATA
# title: Nothing is carried over the wall
# description: Denies a writing session in a walled dataset to whoever's closure has seen another walled dataset, and a further one to whoever is writing (Brewer-Nash, *-property).
# custom: {id: DUTY-WALL-WRITE}
deny contains {"rule": "DUTY-WALL-WRITE", "reason": reason, "next": next} if {
	input.question == "session"
	some wall in policy.duties.walls
	dataset(wall, input.resource.id)
	writing
	some visited in visits
	some other_wall in policy.duties.walls
	other := dataset(other_wall, visited)
	other != dataset(wall, input.resource.id)
	reason := sprintf("%s, its owner or a delegator could carry what it saw in %s to %s", [
		facts.subject_name,
		other,
		input.resource.id,
	])
	next := "write as a principal that has seen no other of these datasets, or read only"
}

writing if writes(input.subject.role)

writing if {
	some role in live_roles
	writes(role)
}

writes(role) if not policy.roles[role].read_only == true

# The dataset of a conflict class that a connection belongs to; none for what is sanitised.
dataset(wall, connection) := name if {
	not connection in object.get(wall, "sanitised", [])
	some name, connections in wall.datasets
	connection in connections
}

# Connections that the closure has been in, or is in now.
visits contains act.connection if {
	some act in past
	act.act == "session.open"
}

visits contains session.connection if {
	some session in input.context.sessions
	some member in session.closure
	member in input.subject.closure
}

# METADATA
# title: Cooling-off
# description: Denies a role to whoever's closure was active in another one less than so many hours ago, or still is.
# custom: {id: DUTY-COOLING}
deny contains {"rule": "DUTY-COOLING", "reason": reason, "next": next} if {
	input.question == "session"
	some pause in policy.duties.cooling
	input.subject.role in pause.roles
	fits(pause)
	some role in pause.after
	recent(role, pause.hours * 3600)
	reason := sprintf("%s, its owner or a delegator was active as %s less than %d hours ago (%s)", [
		facts.subject_name,
		role,
		pause.hours,
		pause.name,
	])
	next := "wait, or let another principal do this"
}

recent(role, _) if role in live_roles

recent(role, seconds) if {
	some act in past
	act.act == "session.open"
	act.object == role
	act.age_s < seconds
}

# METADATA
# title: Nobody does too many steps of a process
# description: Denies the step with which a closure would have done as many steps of a process (on one object, where the process is per relation or connection) as its limit.
# custom: {id: DUTY-PROCESS}
deny contains {"rule": "DUTY-PROCESS", "reason": reason, "next": next} if {
	count(taken) > 0
	input.context.history.present == true
	some now in taken
	process := policy.duties.processes[now.process]
	done := done_steps(process, now.key)
	steps := done | {one.step | some one in taken; one.process == now.process; one.key == now.key}
	count(steps) >= object.get(process, "limit", count(process.steps))
	reason := sprintf("%s, its owner or a delegator would have done %s of %s", [
		facts.subject_name,
		concat(", ", steps),
		process.name,
	])
	next := "let a different principal do this step"
}

# The steps that this act takes, by process and by what it is that nobody may do several steps of.
taken contains {"process": number, "step": step.name, "key": key} if {
	some number, process in policy.duties.processes
	stepping
	fits(process)
	some step in process.steps
	some relation in input.operation.sql.relations
	some access in accesses(relation)
	access in step.access
	name := concat(".", [relation.schema, relation.name])
	touches(step, name)
	key := key_of(process, input.resource.id, name)
}

taken contains {"process": number, "step": step.name, "key": key} if {
	some number, process in policy.duties.processes
	stepping
	fits(process)
	some step in process.steps
	some verb in facts.verbs
	verb in step.verbs
	key := key_of(process, input.resource.id, "")
}

stepping if input.question == "operation"

stepping if input.question == "review"

# Who reviews an act approves, and does not do what it does.
accesses(relation) := relation.access if input.question == "operation"

accesses(_) := ["approve"] if input.question == "review"

touches(step, _) if not step.relations

touches(step, name) if name in step.relations

key_of(process, connection, name) := concat(" ", [connection, name]) if process.per == "relation"

key_of(process, connection, _) := connection if process.per == "connection"

key_of(process, _, _) := "" if process.per == "process"

done_steps(process, key) := {step.name |
	some step in process.steps
	some act in past
	act.age_s <= object.get(process, "days", 3650) * 86400
	key_of(process, act.connection, act.object) == key
	did(step, act)
}

did(step, act) if {
	act.act in step.access
	touches(step, act.object)
}

did(step, act) if act.act in step.verbs

approved_for[act.element] contains act.object if {
	some act in input.context.history.acts
	act.act == "approval.approve"
	act.age_s < policy.duties.review.reciprocal_days * 86400
}

# METADATA
# title: No ring of reviews
# description: Denies a review that would close a ring, in which each has approved for the next within so many days.
# custom: {id: DUTY-REVIEW-RING}
deny contains {"rule": "DUTY-REVIEW-RING", "reason": reason, "next": next} if {
	input.question == "review"
	policy.duties.review.reciprocal_days > 0
	closed := {x | some x in input.subject.closure} & (reached(approved_for, requesters) - requesters)
	count(closed) > 0
	reason := sprintf("%s may not review this: those behind the request have lately approved for %s, directly or through others", [
		facts.subject_name,
		concat(", ", closed),
	])
	next := "let a reviewer decide for whom the requester has not approved anything lately"
}

# METADATA
# title: Who changes policy does not approve under it
# description: Denies a review by whoever's closure changed what is decided less than so many days ago.
# custom: {id: DUTY-POLICY-AUTHOR}
deny contains {"rule": "DUTY-POLICY-AUTHOR", "reason": reason, "next": next} if {
	input.question == "review"
	days := policy.duties.review.policy_author_days
	days > 0
	some act in past
	act.act == "policy.change"
	act.age_s < days * 86400
	reason := sprintf("%s changed the policy less than %d days ago, and may not approve under it", [facts.subject_name, days])
	next := "let a reviewer decide who has not changed the policy"
}
