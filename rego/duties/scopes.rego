package twokey.duties

import data.twokey.config
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

# METADATA
# title: SSH certificates for SSH
# description: Denies an SSH certificate for a connection that isn't SSH's.
# custom: {id: DUTY-CREDENTIAL-SSH}
deny contains {"rule": "DUTY-CREDENTIAL-SSH", "reason": reason, "next": next} if {
	input.question == "call"
	input.context.credential.kind == "ssh-certificate"
	connection := input.context.credential.connection
	object.get(config.connections, [connection, "kind"], "") != "ssh"
	reason := sprintf("%s is no SSH connection", [connection])
	next := "ask for a one-time password, or for a certificate for another connection"
}

# METADATA
# title: SSH certificates for who proves a key
# description: Denies an SSH certificate without proof of the token's key where credentials.yaml demands one.
# custom: {id: DUTY-CREDENTIAL-PROOF}
deny contains {"rule": "DUTY-CREDENTIAL-PROOF", "reason": reason, "next": next} if {
	input.question == "call"
	input.context.credential.kind == "ssh-certificate"
	wanted := input.context.credential
	not wanted.proved
	some connection in object.get(policy, ["credentials", "ssh", "proof"], [])
	connection in {wanted.connection, "*"}
	reason := sprintf("a certificate for %s needs a token that is bound to a key, and its proof", [wanted.connection])
	next := "ask the identity provider for a DPoP-bound token"
}

# METADATA
# title: SSH certificates for one command
# description: Denies an SSH certificate that isn't forced to the command that credentials.yaml names for its role.
# custom: {id: DUTY-CREDENTIAL-COMMAND}
deny contains {"rule": "DUTY-CREDENTIAL-COMMAND", "reason": reason, "next": next} if {
	input.question == "call"
	input.context.credential.kind == "ssh-certificate"
	wanted := input.context.credential
	command := object.get(policy, ["credentials", "ssh", "commands", wanted.connection, wanted.role], wanted.command)
	wanted.command != command
	reason := sprintf("a certificate for %s as %s is for one command: %s", [wanted.connection, wanted.role, command])
	next := "ask for a certificate that is forced to it"
}
