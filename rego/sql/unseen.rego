package twokey.sql

import data.twokey.config.policy
import data.twokey.facts

# What is done at foreign servers that the data doesn't list for it.
unlisted_servers contains text if {
	some server in input.operation.sql.servers
	some access in server.access
	not access_listed(server.name, access)
	text := sprintf("%s at %s (%s)", [access, server.name, server.wrapper])
}

access_listed(server, access) if access in policy.unseen.servers[input.resource.id][server]

# METADATA
# title: Foreign servers are named before they are used
# description: Denies a role that sees a label masked, or is denied what is opaque, what unseen.yaml doesn't list at a foreign server. What happens there nobody sees.
# custom: {id: SQL-SERVER-DENIED}
deny contains {"rule": "SQL-SERVER-DENIED", "reason": reason, "next": next} if {
	input.operation.sql.servers[0]
	facts.is_operation
	count(unlisted_servers) > 0
	not servers_held
	reason := sprintf("%s would happen at another server, where nobody sees it%s", [
		input.operation.sql.command,
		facts.listed(": ", unlisted_servers),
	])
	next := "leave the foreign table out, or have the server listed in unseen.yaml"
}

# METADATA
# title: Foreign servers are a reviewer's to permit
# description: Requires approval for what unseen.yaml doesn't list at a foreign server, for roles that see every label and may do opaque acts with an approval.
# custom: {id: SQL-SERVER}
require contains {"rule": "SQL-SERVER", "reason": reason, "next": hold_next} if {
	input.operation.sql.servers[0]
	facts.is_operation
	count(unlisted_servers) > 0
	servers_held
	reason := sprintf("%s happens at another server, where nobody sees it%s", [
		input.operation.sql.command,
		facts.listed(": ", unlisted_servers),
	])
}

servers_held if {
	opaque_held
	not facts.sees_masked
}

# Held whatever the rows, and nobody asks that server for an estimate either.
held_by_shape if {
	input.operation.sql.servers[0]
	count(unlisted_servers) > 0
}
