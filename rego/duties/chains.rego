package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: On whose behalf
# description: Denies a session of nobody's behalf where duties.yaml wants a chain of actors for its role, environment and connection.
# custom: {id: DUTY-CHAIN}
deny contains {"rule": "DUTY-CHAIN", "reason": reason, "next": next} if {
	input.question == "session"
	some chain in policy.duties.chains
	here(chain, "roles", input.subject.role)
	fits(chain)
	count(input.subject.actors) == 0
	reason := sprintf("%s works as %s on its own, and %s wants it to act for somebody", [facts.subject_name, input.subject.role, chain.name])
	next := "exchange your token for one of whom you act for, at the decision service's /token"
}
