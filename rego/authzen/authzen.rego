# METADATA
# title: AuthZEN
# description: Questions of other applications about resources of their own. Nothing here is looked at for any other question.
package twokey.authzen

import data.twokey.approval
import data.twokey.config.policy
import data.twokey.facts

kind := input.resource.kind

# Which types of subjects are those of people.yaml, and of what kind.
kinds := object.get(policy, ["authzen", "kinds"], {"user": "person", "agent": "agent"})

# METADATA
# title: Grants of foreign types
# description: Allows a registered subject the actions that authzen.yaml gives to it by name. An id is one within its type, so what another type calls carol is another.
# custom: {id: AUTHZEN-GRANT}
allow contains {"rule": "AUTHZEN-GRANT", "reason": reason, "next": ""} if {
	input.question == "access"
	not input.access.entrypoint.present
	facts.registered
	input.subject.kind == object.get(kinds, input.access.subject_type, "")
	input.subject.name in object.get(policy, ["authzen", "types", kind, "allow", input.action.name], [])
	reason := sprintf("%s may %s", [input.subject.name, input.action.name])
}

# METADATA
# title: Entrypoints of foreign types
# description: Allows what the resource type's own entrypoint allows.
# custom: {id: AUTHZEN-ENTRYPOINT}
allow contains {"rule": "AUTHZEN-ENTRYPOINT", "reason": reason, "next": ""} if {
	input.question == "access"
	input.access.entrypoint.present
	input.access.entrypoint.decision
	reason := sprintf("the entrypoint of %s allows it", [kind])
}

# METADATA
# title: Nobody answers for what twokey describes
# description: Denies questions about statements, requests, commands and tools; a request can't carry a description that could be trusted.
# custom: {id: AUTHZEN-KIND}
deny contains {"rule": "AUTHZEN-KIND", "reason": reason, "next": "send it through the gateway, which describes it"} if {
	input.question == "access"
	kind in {"sql", "kubernetes", "ssh", "tool", "connection", "rpc"}
	reason := sprintf("%s is described by a gateway, never by who asks", [kind])
}

# METADATA
# title: Applications ask about what is theirs
# description: Denies a question about a type of resource or of subject that authzen.yaml doesn't give to the caller.
# custom: {id: AUTHZEN-CALLER}
deny contains {"rule": "AUTHZEN-CALLER", "reason": reason, "next": "have authzen.yaml name the type for this caller"} if {
	input.question == "access"
	not caller_may
	reason := sprintf("%s may not ask about %s of a %s", [input.access.caller, kind, input.access.subject_type])
}

caller_may if {
	granted := object.get(policy, ["authzen", "callers", input.access.caller], {"types": [], "subjects": []})
	kind in granted.types
	input.access.subject_type in granted.subjects
}

# METADATA
# title: Never
# description: Denies an action that authzen.yaml lists under never, whatever an entrypoint says.
# custom: {id: AUTHZEN-NEVER}
deny contains {"rule": "AUTHZEN-NEVER", "reason": reason, "next": ""} if {
	input.question == "access"
	input.action.name in object.get(policy, ["authzen", "types", kind, "never"], [])
	reason := sprintf("nobody may %s a %s", [input.action.name, kind])
}

# METADATA
# title: Held for a person
# description: Requires an approval for the actions that authzen.yaml lists under approve; its terms are in approvals.yaml.
# custom: {id: AUTHZEN-APPROVAL}
require contains {"rule": "AUTHZEN-APPROVAL", "reason": reason, "next": next} if {
	input.question == "access"
	input.action.name in object.get(policy, ["authzen", "types", kind, "approve"], [])
	reason := sprintf("%s of a %s needs an approval", [input.action.name, kind])
	next := "submit an access request, and ask again with the approval once there is one"
}

# What the verdicts given don't release; they count here as they do for an operation.
open contains held if {
	some held in require
	not released(held.rule)
}

released(rule) if approval.satisfied(rule) with input.question as "operation"

# METADATA
# title: A refusal stays a refusal
# description: Denies a question with an approval on which any verdict refuses it.
# custom: {id: AUTHZEN-REFUSED}
deny contains {"rule": "AUTHZEN-REFUSED", "reason": reason, "next": ""} if {
	input.question == "access"
	input.context.approval.present == true
	some verdict in input.context.approval.verdicts
	not approval.approves(verdict)
	reason := sprintf("the reviewer %s refused this", [verdict.name])
}

# METADATA
# title: Obligations of foreign types
# description: Obliges the application to what authzen.yaml attaches to an action of a type.
# custom: {id: AUTHZEN-OBLIGATION}
obligations contains {"type": entry.type, "parameters": object.get(entry, "parameters", {})} if {
	input.question == "access"
	some entry in object.get(policy, ["authzen", "types", kind, "obligations", input.action.name], [])
}
