package twokey.approval

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: Who may ask
# description: Allows opening one more request for an approval, where nothing below denies it.
# custom: {id: APPROVAL-ASK}
allow contains {"rule": "APPROVAL-ASK", "reason": reason, "next": ""} if {
	input.question == "request"
	input.context.requests.present == true
	reason := sprintf("%s asks for an approval", [facts.subject_name])
}

# How many requests all of one closure together may have open, and how many they may have opened, and have been refused, within an hour.
most := object.union({"live": 100, "hour": 1000}, object.get(policy.approvals, "requests", {}))

# METADATA
# title: No flood of requests
# description: Denies one more request of a closure that has as many open as requests.live of approvals.yaml says, or has opened requests.hour within an hour, so that nobody is tired out. An agent's owner and its other agents are of its closure.
# custom: {id: APPROVAL-FLOOD}
deny contains {"rule": "APPROVAL-FLOOD", "reason": reason, "next": next} if {
	input.question == "request"
	some name, counted in {"live": input.context.requests.live, "hour": input.context.requests.hour}
	counted >= most[name]
	reason := sprintf("%s, its owner and their agents together %s", [facts.subject_name, sprintf(flooded[name], [most[name]])])
	next := "wait until some are decided or expire, or withdraw some"
}

flooded := {"live": "already wait for %d approvals", "hour": "have asked %d times within an hour"}

# METADATA
# title: Back off after refusals
# description: Denies one more request of a closure of which requests.refused were refused within an hour, where approvals.yaml has such a limit.
# custom: {id: APPROVAL-BACKOFF}
deny contains {"rule": "APPROVAL-BACKOFF", "reason": reason, "next": next} if {
	input.question == "request"
	input.context.requests.refused >= most.refused
	reason := sprintf("%d requests of %s, its owner and their agents were refused within an hour", [most.refused, facts.subject_name])
	next := "talk to the reviewers, and ask again later"
}
