# METADATA
# title: Obligations by data
# description: Attaches to sessions and acts what obligations.yaml says, and holds acts to the reason that it demands.
package twokey.obligations

import data.twokey.config.policy
import data.twokey.facts

# Every act that isn't harmless: transaction control and harmless settings have nothing to bound.
fitting contains entry if {
	facts.is_operation
	not facts.harmless
	some entry in policy.obligations.act
	fits_where(entry)
	fits_what(entry)
}

fitting contains entry if {
	input.question == "session"
	some entry in policy.obligations.session
	fits_where(entry)
}

# What an entry does not name fits: to leave something out can only attach more.
fits_where(entry) if {
	named(entry, "roles", input.subject.role)
	named(entry, "environments", input.resource.environment)
	named(entry, "connections", input.resource.id)
}

named(entry, key, _) if "*" in object.get(entry, key, ["*"])

named(entry, key, value) if value in object.get(entry, key, ["*"])

fits_what(entry) if "*" in object.get(entry, "groups", ["*"])

fits_what(entry) if {
	some group in facts.groups
	group in entry.groups
}

# A verb that is in no group is not known to be outside of any.
fits_what(_) if {
	some verb in facts.verbs
	not policy.verbs[verb]
}

# METADATA
# title: Attached obligations
# description: Obliges the enforcer to what obligations.yaml attaches to such a session or act.
# custom: {id: OBLIGATION-ATTACHED}
obligations contains {"type": entry.type, "parameters": object.get(entry, "parameters", {})} if some entry in fitting

# METADATA
# title: Acts that need a reason
# description: Denies an act to which obligations.yaml attaches require-reason while its client has given none.
# custom: {id: OBLIGATION-REASON}
deny contains {"rule": "OBLIGATION-REASON", "reason": reason, "next": "SET twokey.reason = 'why'"} if {
	some entry in fitting
	entry.type == "require-reason"
	facts.is_operation
	trim_space(input.context.reason) == ""
	reason := sprintf("%s in %s needs a reason, and none is given", [input.operation.sql.command, input.resource.environment])
}
