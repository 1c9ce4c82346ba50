package twokey.approval_test

import data.twokey.testing as t

# APPROVAL-ASK, APPROVAL-FLOOD, APPROVAL-BACKOFF
counts(live, hour, refused) := {"live": live, "hour": hour, "refused": refused}

limits := {"approvals": {"requests": {"live": 5, "hour": 20, "refused": 3}}}

test_approval_ask_allows if t.decide_with(t.request(t.executor, counts(0, 0, 0)), limits).outcome == "allow"

test_approval_ask_denies if {
	t.decide(t.request(t.executor, {"present": false, "live": 0, "hour": 0, "refused": 0})).outcome == "deny"
}

test_approval_flood_allows if t.decide_with(t.request(t.executor, counts(4, 19, 0)), limits).outcome == "allow"

test_approval_flood_denies if {
	t.denied_by(t.decide_with(t.request(t.executor, counts(5, 5, 0)), limits), "APPROVAL-FLOOD")
	t.denied_by(t.decide_with(t.request(t.executor, counts(0, 20, 0)), limits), "APPROVAL-FLOOD")
	t.denied_by(t.decide(t.request(t.executor, counts(100, 0, 0))), "APPROVAL-FLOOD")
}

test_approval_backoff_allows if {
	t.decide_with(t.request(t.executor, counts(0, 0, 2)), limits).outcome == "allow"
	t.decide(t.request(t.executor, counts(0, 0, 99))).outcome == "allow"
}

test_approval_backoff_denies if t.denied_by(t.decide_with(t.request(t.executor, counts(0, 0, 3)), limits), "APPROVAL-BACKOFF")
