package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: No session beyond the token's scopes
# description: Denies a session where the token's scopes name other connections or other work than the role's.
# custom: {id: DUTY-SCOPE}
deny contains {"rule": "DUTY-SCOPE", "reason": reason, "next": next} if {
	input.question == "session"
	input.context.scoped
	not in_scope(input.resource.id, input.subject.role)
	reason := sprintf("the token of %s has no scope for %s as %s", [facts.subject_name, input.resource.id, input.subject.role])
	next := sprintf("ask the identity provider for the scope twokey:%s:%s", [input.resource.id, scope_word(input.subject.role)])
}

in_scope(connection, role) if {
	some scope in input.context.scopes
	[prefix, named, word] := split(scope, ":")
	prefix == "twokey"
	named in {connection, "*"}
	word in {scope_word(role), "*"}
}

scope_word(role) := object.get(policy, ["scopes", "verbs", role], role)

# METADATA
# title: One-time passwords for sessions that could be opened
# description: Denies a one-time password for a role that may not connect, or for what the token's scopes don't name.
# custom: {id: DUTY-CREDENTIAL}
deny contains {"rule": "DUTY-CREDENTIAL", "reason": reason, "next": next} if {
	input.question == "call"
	input.context.credential.present
	wanted := input.context.credential
	not may_connect(wanted)
	reason := sprintf("%s may not open %s as %s", [facts.subject_name, wanted.connection, wanted.role])
	next := "ask for a role and a connection that the token is for"
}

may_connect(wanted) if {
	wanted.role in connectable
	not input.context.scoped
}

may_connect(wanted) if {
	wanted.role in connectable
	in_scope(wanted.connection, wanted.role)
}

# METADATA
# title: One-time passwords are used once
# description: Denies a one-time password of more uses than credentials.yaml grants to its role on its connection.
# custom: {id: DUTY-CREDENTIAL-USES}
deny contains {"rule": "DUTY-CREDENTIAL-USES", "reason": reason, "next": next} if {
	input.question == "call"
	input.context.credential.present
	wanted := input.context.credential
	granted := max({1} | granted_uses(wanted))
	wanted.uses > granted
	reason := sprintf("a one-time password for %s as %s may be used %d times, not %d", [wanted.connection, wanted.role, granted, wanted.uses])
	next := "ask for fewer uses, or have credentials.yaml grant more"
}

granted_uses(wanted) := {number |
	some connection in [wanted.connection, "*"]
	number := object.get(policy, ["credentials", "uses", connection, wanted.role], 1)
}
