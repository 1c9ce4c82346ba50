package twokey.duties_test

import data.twokey.testing as t

# The fixtures' time is Sunday, 2026-11-22 12:00 UTC: 13:00 in Berlin.
window(more) := {"duties": {"windows": [object.union(
	{"name": "office", "roles": ["executor"], "days": ["sun"], "from": "09:00", "to": "17:30", "zone": "Europe/Berlin"},
	more,
)]}}

at(clock) := object.union(t.session(t.executor), {"context": {"time_ns": time.parse_rfc3339_ns(clock)}})

durations(decision) := {one.parameters.ms | some one in decision.obligations; one.type == "max-duration"}

test_duty_window_allows if {
	decision := t.decide_with(at("2026-11-22T12:00:00Z"), window({}))
	decision.outcome == "allow"

	# Who and what it isn't for.
	every other in [{"roles": ["planner"]}, {"environments": ["test"]}, {"connections": ["x"]}, {"labels": ["salary"]}] {
		t.decide_with(at("2026-11-22T23:00:00Z"), window(other)).outcome == "allow"
	}
	t.decide_with(at("2026-11-22T08:00:00Z"), window({})).outcome == "allow"
	t.decide_with(at("2026-07-19T07:00:00Z"), window({})).outcome == "allow"
}

test_duty_window_denies if {
	every clock in [
		"2026-11-22T07:59:59Z",
		"2026-11-22T16:30:00Z",
		"2026-11-23T12:00:00Z",
		"2026-07-19T15:30:00Z",
	] {
		t.denied_by(t.decide_with(at(clock), window({})), "DUTY-WINDOW")
	}
	named := {"roles": ["*"], "environments": ["production"], "connections": ["crm"], "labels": ["pan"]}
	t.denied_by(t.decide_with(at("2026-11-22T23:00:00Z"), window(named)), "DUTY-WINDOW")
}

test_duty_window_end_allows if {
	(14400000 + 1800000) in durations(t.decide_with(at("2026-11-22T12:00:00Z"), window({})))
	1000 in durations(t.decide_with(at("2026-11-22T16:29:59Z"), window({})))
}

test_duty_window_end_denies if {
	durations(t.decide(at("2026-11-22T12:00:00Z"))) == {43200000}
}

test_duty_window_over_midnight if {
	night := {"from": "22:00", "to": "00:30", "zone": "UTC"}
	every clock in ["2026-11-22T22:00:00Z", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-23T00:29:59Z"] {
		t.decide_with(at(clock), window(night)).outcome == "allow"
	}
	every clock in ["2026-11-22T21:59:59Z", "2026-11-23T00:30:00Z", "2026-11-22T00:10:00Z", "2026-11-23T22:00:00Z"] {
		t.denied_by(t.decide_with(at(clock), window(night)), "DUTY-WINDOW")
	}
	9000000 in durations(t.decide_with(at("2026-11-22T22:00:00Z"), window(night)))
	1800000 in durations(t.decide_with(at("2026-11-23T00:00:00Z"), window(night)))
}

test_duty_window_the_longer_of_two_counts if {
	two := {"duties": {"windows": [window({}).duties.windows[0], window({"name": "b", "to": "20:00"}).duties.windows[0]]}}
	25200000 in durations(t.decide_with(at("2026-11-22T12:00:00Z"), two))
	not 16200000 in durations(t.decide_with(at("2026-11-22T12:00:00Z"), two))
}
