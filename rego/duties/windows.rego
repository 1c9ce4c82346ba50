package twokey.duties

import data.twokey.config.policy
import data.twokey.facts

# METADATA
# title: Time windows
# description: Denies a session outside of the hours that duties.yaml has for its role, environment and connection.
# custom: {id: DUTY-WINDOW}
deny contains {"rule": "DUTY-WINDOW", "reason": reason, "next": next} if {
	input.question == "session"
	count(windows) > 0
	count(open_windows) == 0
	reason := sprintf("%s may not work as %s at this hour", [facts.subject_name, input.subject.role])
	next := sprintf("come back in: %s", [concat(", ", {window.name | some window in windows})])
}

# METADATA
# title: A session ends with its window
# description: Bounds a session to what is left of the longest window that is open, so that no statement needs to look at the clock.
# custom: {id: DUTY-WINDOW-END}
obligations contains {"type": "max-duration", "parameters": {"ms": left}} if {
	input.question == "session"
	count(open_windows) > 0
	minutes := max({minutes_left(window) | some window in open_windows})
	left := (minutes * 60000) - (time.clock(input.context.time_ns)[2] * 1000)
}

windows contains window if {
	some window in policy.duties.windows
	here(window, "roles", input.subject.role)
	fits(window)
}

open_windows contains window if {
	some window in windows
	minutes_left(window) > 0
}

# Of its day, or of the day before where it goes over midnight; by its own clock.
minutes_left(window) := until(window) - minute(window) if {
	since(window) < until(window)
	weekday(window, 0) in window.days
	minute(window) >= since(window)
	minute(window) < until(window)
}

minutes_left(window) := (1440 - minute(window)) + until(window) if {
	since(window) > until(window)
	weekday(window, 0) in window.days
	minute(window) >= since(window)
}

minutes_left(window) := until(window) - minute(window) if {
	since(window) > until(window)
	weekday(window, 24) in window.days
	minute(window) < until(window)
}

weekday(window, hours_ago) := lower(substring(time.weekday([input.context.time_ns - (hours_ago * 3600000000000), window.zone]), 0, 3))

minute(window) := (clock[0] * 60) + clock[1] if clock := time.clock([input.context.time_ns, window.zone])

since(window) := clock_minutes(window.from)

until(window) := clock_minutes(window.to)

clock_minutes(text) := (to_number(trim_left(parts[0], "0 ")) * 60) + to_number(parts[1]) if {
	parts := split(text, ":")
	trim_left(parts[0], "0 ") != ""
}

clock_minutes(text) := to_number(split(text, ":")[1]) if trim_left(split(text, ":")[0], "0 ") == ""
