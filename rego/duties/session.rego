# METADATA
# title: Duties
# description: Who may hold which roles, open sessions, review and call; segregation of duties between principals.
package twokey.duties

import data.twokey.config
import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: A session is opened in a role of one's own
# description: Allows opening a session in a role that the token carries and that may connect.
# custom: {id: DUTY-SESSION}
allow contains {"rule": "DUTY-SESSION", "reason": reason, "next": ""} if {
	input.question == "session"
	input.resource.type == "connection"
	facts.role_active
	reason := sprintf("%s opens %s as %s", [facts.subject_name, input.resource.id, input.subject.role])
}

# METADATA
# title: No role beyond the token's
# description: Denies a session and every operation under a role that the token doesn't carry or that may not connect.
# custom: {id: DUTY-ROLE}
deny contains {"rule": "DUTY-ROLE", "reason": reason, "next": next} if {
	input.question in {"session", "operation"}
	not facts.role_active
	reason := sprintf("%s may not act as %q here", [facts.subject_name, input.subject.role])
	next := sprintf("connect as one of the token's roles that may open sessions: %s", [concat(", ", connectable)])
}

connectable := {name |
	some name in input.subject.roles
	policy.roles[name].connect == true
}

# METADATA
# title: An unregistered identity gets nothing above harmless
# description: Denies what isn't harmless to identities unknown to people.yaml, to agents without an owner, and to chains with one of them.
# custom: {id: DUTY-UNREGISTERED}
deny contains {"rule": "DUTY-UNREGISTERED", "reason": reason, "next": next} if {
	input.question == "operation"
	not facts.registered
	not facts.harmless
	reason := sprintf("%s, or someone acting for it, is unknown or has no registered owner: only harmless statements are allowed", [facts.subject_name])
	next := "have an administrator add it to people.yaml, an agent with its owner"
}

# METADATA
# title: No session outlives its registration
# description: Ends an open session, when the policy changes, whose identity people.yaml doesn't know any more, or whose agent has no owner.
# custom: {id: DUTY-KEEP}
deny contains {"rule": "DUTY-KEEP", "reason": reason, "next": next} if {
	input.question == "session"
	input.action.name == "session.keep"
	not facts.registered
	reason := sprintf("%s, or someone acting for it, is unknown or has no registered owner by now", [facts.subject_name])
	next := "have an administrator add it to people.yaml, an agent with its owner"
}

# METADATA
# title: Static exclusive roles
# description: Denies whoever's token carries as many roles of an exclusive set as its limit, inherited ones included (SSD).
# custom: {id: DUTY-STATIC}
deny contains {"rule": "DUTY-STATIC", "reason": reason, "next": next} if {
	input.question in {"session", "operation", "review"}
	number := count(authorized)
	some exclusive in policy.duties.static
	number >= exclusive.limit
	held := authorized & {role | some role in exclusive.roles}
	count(held) >= exclusive.limit
	fits(exclusive)
	reason := sprintf("%s holds the roles %s, which exclude each other (%s)", [facts.subject_name, concat(", ", held), exclusive.name])
	next := "have one of the roles taken from this identity at the identity provider"
}

# The roles of the token and, where duties.yaml has a hierarchy, all that they inherit.
authorized := inherited(input.subject.roles)

inherited(roles) := {role | some role in roles} if not policy.duties.hierarchy

inherited(roles) := reached(policy.duties.hierarchy, roles) if policy.duties.hierarchy

# graph.reachable leaves out what has no edges of its own.
reached(edges, from) := {x | some x in from} | {x |
	some node in graph.reachable(edges, from)
	some x in edges[node]
}

# Whether an entry of duties.yaml counts here: what it does not name is any.
fits(entry) if {
	here(entry, "environments", input.resource.environment)
	here(entry, "connections", input.resource.id)
	labelled(entry)
}

here(entry, key, _) if not entry[key]

here(entry, key, value) if value in entry[key]

here(entry, key, _) if "*" in entry[key]

labelled(entry) if not entry.labels

labelled(entry) if {
	some label in config.classification[input.resource.id]
	label in entry.labels
}

# METADATA
# title: Roles are assigned
# description: Denies opening a session or reviewing in a role that duties.yaml does not assign to this principal or agent, where it assigns any.
# custom: {id: DUTY-ASSIGNED}
deny contains {"rule": "DUTY-ASSIGNED", "reason": reason, "next": next} if {
	policy.duties.assignments
	some role in needed_role
	not role in inherited(object.get(policy.duties.assignments, input.subject.name, []))
	reason := sprintf("%s is not assigned the role %s", [facts.subject_name, role])
	next := "have it assigned in duties.yaml, where its duties allow that"
}

needed_role contains input.subject.role if input.question == "session"

needed_role contains policy.duties.review.role if input.question == "review"

# METADATA
# title: Dynamic exclusive roles
# description: Denies opening a session in a role that excludes one active in a live session of the same closure (DSD).
# custom: {id: DUTY-DYNAMIC}
deny contains {"rule": "DUTY-DYNAMIC", "reason": reason, "next": next} if {
	input.question == "session"
	some exclusive in policy.duties.dynamic
	members := {role | some role in exclusive.roles}
	count(inherited([input.subject.role]) & members) > 0
	active := inherited({input.subject.role} | live_roles) & members
	count(active) >= exclusive.limit
	fits(exclusive)
	reason := sprintf("%s, its owner or a delegator has a live session as %s, which excludes %s (%s)", [
		facts.subject_name,
		concat(", ", active - {input.subject.role}),
		input.subject.role,
		exclusive.name,
	])
	next := "close that session first, or let a different principal do this part"
}

live_roles := {session.role |
	some session in input.context.sessions
	some member in session.closure
	member in input.subject.closure
}
