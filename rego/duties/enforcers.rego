package twokey.duties

import data.twokey.config.policy

# METADATA
# title: Enforcers serve what they are for
# description: Denies a session through an enforcer, known by its certificate, that enforcers.yaml doesn't name for the connection.
# custom: {id: DUTY-ENFORCER}
deny contains {"rule": "DUTY-ENFORCER", "reason": reason, "next": next} if {
	input.question == "session"
	input.context.enforcer != ""
	limits := object.get(policy, ["enforcers", "serve"], {})
	limits != {}
	not serves(limits, input.context.enforcer, input.resource.id)
	reason := sprintf("the enforcer %s is not for %s", [input.context.enforcer, input.resource.id])
	next := "connect by another gateway, or name the connection under serve in enforcers.yaml"
}

serves(limits, enforcer, connection) if connection in limits[enforcer]

serves(limits, enforcer, _) if "*" in limits[enforcer]
