package twokey.duties

import data.twokey.facts

# METADATA
# title: No question of an application beyond its token's scopes
# description: Denies AuthZEN's calls where the application's token has scopes and none is twokey:access:evaluate.
# custom: {id: DUTY-SCOPE-ACCESS}
deny contains {"rule": "DUTY-SCOPE-ACCESS", "reason": reason, "next": next} if {
	input.question == "call"
	startswith(called, "twokey.authzen.v1.")
	input.context.scoped
	not access_in_scope
	reason := sprintf("the token of %s has no scope for questions of applications", [facts.subject_name])
	next := "ask the identity provider for the scope twokey:access:evaluate"
}

access_in_scope if {
	some scope in input.context.scopes
	[prefix, named, word] := split(scope, ":")
	prefix == "twokey"
	named in {"access", "*"}
	word in {"evaluate", "*"}
}
