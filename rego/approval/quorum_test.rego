package twokey.approval_test

import data.twokey.testing as t

# Terms that ask several groups (all, stages), deputies and cooling-off.
asks(wanted) := {"approvals": {"rules": {"SQL-DELETE": object.union({"expires_s": 60}, wanted)}}}

of(name, groups) := object.union(t.verdict(name), {"groups": groups})

judged(verdicts, wanted) := t.decide_with(with_verdicts(verdicts), asks(wanted))

both_groups := {"all": [{"groups": ["dba"]}, {"groups": ["security"]}]}

# DUTY-VERDICT, all of several groups
test_duty_verdict_all_allows if {
	judged([of("carol", ["dba"]), of("dave", ["security"])], both_groups).outcome == "allow"
	judged([of("dave", ["security"]), of("carol", ["dba", "security"])], both_groups).outcome == "allow"
	judged([of("carol", ["dba", "security"]), of("dave", ["dba"])], both_groups).outcome == "allow"
	judged([of("x", ["dba"]), of("y", ["dba"]), of("carol", ["dba"]), of("dave", ["security"])], both_groups).outcome == "allow"
}

test_duty_verdict_all_denies if {
	every verdicts in [
		[],
		[of("carol", ["dba", "security"])],
		[of("carol", ["dba"]), of("dave", ["dba"])],
		[of("carol", ["dba"]), object.union(of("dave", ["security"]), {"closure": ["dave", "carol"]})],
		[of("carol", ["dba"]), object.union(of("dave", ["security"]), {"revoked": true})],
	] {
		decision := judged(verdicts, both_groups)
		t.held_by(decision, "SQL-DELETE")
		decision.approval == {"groups": ["dba", "security"], "quorum": 2, "expires_s": 60}
	}
}

three := {"all": [{"groups": ["dba"], "quorum": 2}, {"groups": ["dba", "security"]}]}

test_duty_verdict_all_counts_nobody_twice if {
	t.held_by(judged([of("a", ["dba"]), of("b", ["dba"])], three), "SQL-DELETE")
	t.held_by(judged([of("a", ["dba"]), of("b", ["security"]), of("c", ["security"])], three), "SQL-DELETE")
	judged([of("a", ["dba"]), of("b", ["security"]), of("c", ["dba"])], three).outcome == "allow"
}

in_order := {"stages": [{"groups": ["dba"], "quorum": 2}, {"groups": ["security"]}, {"groups": ["leads"]}]}

# DUTY-VERDICT, ordered stages
test_duty_verdict_stages_allows if {
	a := of("a", ["dba"])
	b := of("b", ["dba"])
	judged([a, b, of("c", ["security"]), of("d", ["leads"])], in_order).outcome == "allow"
	judged([a, b, of("x", ["dba"]), of("c", ["security"]), of("d", ["leads"])], in_order).outcome == "allow"
	judged([a, of("c", ["security", "dba"]), of("e", ["security"]), of("d", ["leads"])], in_order).outcome == "allow"
}

test_duty_verdict_stages_denies if {
	every verdicts in [
		[of("c", ["security"]), of("a", ["dba"]), of("b", ["dba"]), of("d", ["leads"])],
		[of("a", ["dba"]), of("c", ["security"]), of("b", ["dba"]), of("d", ["leads"])],
		[of("a", ["dba"]), of("b", ["dba"]), of("d", ["leads"]), of("c", ["security"])],
		[of("a", ["dba"]), of("b", ["dba", "security", "leads"]), of("c", ["security"])],
	] {
		t.held_by(judged(verdicts, in_order), "SQL-DELETE")
	}
}

reviewer(name, groups) := t.person(name, ["reviewer"], "", groups)

# DUTY-DEPUTY
deputy := {"for": "carol", "by": "dave", "until": "2026-11-22T13:00:00Z"}

stood_in(verdicts, deputies, wanted) := decision if {
	known := {"principals": [{"name": "carol", "groups": ["dba"]}, {"name": "dave", "groups": ["staff"]}, {"name": "bob", "groups": ["dba"]}]}
	policy := {"approvals": {"deputies": deputies, "rules": {"SQL-DELETE": object.union({"expires_s": 60}, wanted)}}}
	config := object.union(t.config_with(policy), {"people": known})
	decision := data.twokey.main.decision with input as with_verdicts(verdicts) with data.twokey.config as config
}

one_dba := {"groups": ["dba"], "quorum": 1}

dave := of("dave", ["staff"])

test_duty_deputy_allows if {
	stood_in([dave], [deputy], one_dba).outcome == "allow"
	stood_in([dave], [object.remove(deputy, ["until"])], one_dba).outcome == "allow"
}

test_duty_deputy_denies if {
	every deputies in [
		[],
		[object.union(deputy, {"until": "2026-11-22T11:00:00Z"})],
		[object.union(deputy, {"by": "erin"})],
		[object.union(deputy, {"for": "bob"})],
		[object.union(deputy, {"for": "nobody"})],
	] {
		t.held_by(stood_in([dave], deputies, one_dba), "SQL-DELETE")
	}
}

test_duty_deputy_and_whom_it_stands_in_for_count_as_one if {
	t.held_by(stood_in([carol, dave], [deputy], {"groups": ["dba"], "quorum": 2}), "SQL-DELETE")
	stood_in([of("erin", ["dba"]), dave], [deputy], {"groups": ["dba"], "quorum": 2}).outcome == "allow"
}

reviews_as_deputy(deputies, verdicts) := decision if {
	known := {"principals": [{"name": "carol", "groups": ["dba"]}, {"name": "bob", "groups": ["dba"]}]}
	config := object.union(t.config_with({"approvals": {"deputies": deputies}}), {"people": known})
	asked := t.review(reviewer("dave", ["staff"]), object.union(t.pending, {"verdicts": verdicts}))
	decision := data.twokey.main.decision with input as asked with data.twokey.config as config
}

test_duty_deputy_reviews_allows if reviews_as_deputy([deputy], []).outcome == "allow"

test_duty_deputy_reviews_denies if {
	t.denied_by(reviews_as_deputy([], []), "DUTY-REVIEW-GROUP")
	t.denied_by(reviews_as_deputy([object.union(deputy, {"for": "bob"})], []), "DUTY-REVIEW-GROUP")
	t.denied_by(reviews_as_deputy([deputy], [carol]), "DUTY-REVIEW-TWICE")
}

# Cooling-off
cooling := {"groups": ["dba"], "quorum": 1, "cooling_s": 600}

aged(verdict, seconds) := object.union(verdict, {"age_s": seconds})

test_cooling_off_allows if {
	judged([aged(carol, 600)], cooling).outcome == "allow"
	judged([aged(carol, 600), aged(of("erin", ["dba"]), 5)], cooling).outcome == "allow"
}

test_cooling_off_denies if {
	decision := judged([aged(carol, 599)], cooling)
	t.held_by(decision, "SQL-DELETE")
	decision.approval.again_s == 1
	not judged([], cooling).approval.again_s
	not judged([aged(carol, 5)], object.union(cooling, {"quorum": 2})).approval.again_s
	t.denied_by(judged([aged(carol, 600), object.union(of("erin", ["dba"]), {"approve": false})], cooling), "DUTY-REFUSED")
}
