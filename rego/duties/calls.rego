package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# The RPC's full name, with or without the leading slash of its HTTP/2 path.
called := trim_prefix(input.resource.id, "/")

# METADATA
# title: RPCs by role
# description: Allows a registered caller the RPCs that calls.yaml gives to one of the token's roles.
# custom: {id: DUTY-CALL}
allow contains {"rule": "DUTY-CALL", "reason": reason, "next": ""} if {
	input.question == "call"
	input.resource.type == "rpc"
	facts.registered
	some role in input.subject.roles
	role in policy.calls.roles[called]
	reason := sprintf("%s may call %s", [role, called])
}

# METADATA
# title: RPCs about one's own sessions
# description: Allows a person acting for themselves what calls.yaml gives to a role for sessions of their own, or of their agents.
# custom: {id: DUTY-CALL-OWN}
allow contains {"rule": "DUTY-CALL-OWN", "reason": reason, "next": ""} if {
	input.question == "call"
	input.resource.type == "rpc"
	facts.registered
	some role in input.subject.roles
	role in policy.calls.own[called]
	own_only
	reason := sprintf("%s may call %s about sessions of their own", [role, called])
}

# The sessions that the call is about; none before they are known, when only the caller is judged.
own_only if {
	input.subject.kind == "person"
	count(input.subject.actors) == 0
	every session in input.context.sessions {
		some party in input.subject.closure
		party in session.closure
	}
}

# METADATA
# title: Other people's sessions
# description: Denies a call about other people's sessions to whom calls.yaml gives it only for their own, and to every agent.
# custom: {id: DUTY-CALL-OTHERS}
deny contains {"rule": "DUTY-CALL-OTHERS", "reason": reason, "next": next} if {
	input.question == "call"
	call_permitted
	not permitted_for_all
	not own_only
	reason := sprintf("%s may call %s only as a person, about sessions of their own", [facts.subject_name, called])
	next := sprintf("use a token with one of the roles that may: %s", [concat(", ", callers)])
}

# METADATA
# title: No other RPC
# description: Denies a call that calls.yaml gives to none of the token's roles, those of enforcers included.
# custom: {id: DUTY-CALL-ROLE}
deny contains {"rule": "DUTY-CALL-ROLE", "reason": reason, "next": next} if {
	input.question == "call"
	not call_permitted
	reason := sprintf("%s may not call %s with the roles it has: %s", [
		facts.subject_name,
		called,
		concat(", ", {role | some role in input.subject.roles}),
	])
	next := sprintf("use a token with one of the roles that may: %s", [concat(", ", callers)])
}

call_permitted if {
	is_array(policy.calls.enforcer)
	not called in policy.calls.enforcer
	permitted_for_all
}

call_permitted if {
	is_array(policy.calls.enforcer)
	not called in policy.calls.enforcer
	some role in input.subject.roles
	role in policy.calls.own[called]
}

permitted_for_all if {
	some role in input.subject.roles
	role in policy.calls.roles[called]
}

callers := {role | some role in policy.calls.roles[called]}

# METADATA
# title: Agents ask for themselves
# description: Denies a question about another subject to anyone but a person acting for themselves.
# custom: {id: DUTY-CALL-ABOUT}
deny contains {"rule": "DUTY-CALL-ABOUT", "reason": reason, "next": next} if {
	input.question == "call"
	not input.resource.subject in {"", input.subject.name}
	not only_persons
	reason := sprintf("%s may ask what it would be told itself, not what %s would be", [
		facts.subject_name,
		input.resource.subject,
	])
	next := "let a person ask"
}

only_persons if {
	input.subject.kind == "person"
	every actor in input.subject.actors { actor.kind == "person" }
}

# METADATA
# title: Calls by registered identities only
# description: Denies calls by an identity unknown to people.yaml, or an agent without an owner.
# custom: {id: DUTY-CALL-UNREGISTERED}
deny contains {"rule": "DUTY-CALL-UNREGISTERED", "reason": reason, "next": next} if {
	input.question == "call"
	not facts.registered
	reason := sprintf("%s, or someone acting for it, is unknown or has no registered owner", [facts.subject_name])
	next := "have an administrator add it to people.yaml, an agent with its owner"
}
