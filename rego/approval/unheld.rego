package twokey.approval

import data.twokey.config.policy
import data.twokey.masking
import data.twokey.sql

# METADATA
# title: What can't be held isn't asked for
# description: Where unheld is deny in approvals.yaml, denies an act that needs an approval and can't wait for it, and opens no request. Without it a request is opened, and the same act goes through once approved.
# custom: {id: APPROVAL-UNHELD}
deny contains {"rule": "APPROVAL-UNHELD", "reason": reason, "next": next} if {
	input.context.can_hold == false
	object.get(policy.approvals, "unheld", "ask") == "deny"
	input.question == "operation"
	some held in (sql.require | masking.require)
	not satisfied(held.rule)
	reason := sprintf("it needs an approval [%s], and can't wait for one here", [held.rule])
	next := "run it on its own: not behind a write of the same transaction, nor beside other statements in one message"
}
