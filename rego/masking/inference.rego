package twokey.masking

import data.twokey.config.policy
import data.twokey.facts

# Inferences that masking.yaml permits so many times an hour.
budgets := object.get(policy.masking, ["inference", "budgets"], [])

# What an entry does not name fits: to leave something out can only count more.
fits(budget, found) if {
	named_in(budget, "kinds", found.inference.kind)
	named_in(budget, "labels", found.label)
	named_in(budget, "roles", input.subject.role)
	named_in(budget, "environments", input.resource.environment)
	named_in(budget, "connections", input.resource.id)
}

named_in(budget, key, _) if "*" in object.get(budget, key, ["*"])

named_in(budget, key, value) if value in object.get(budget, key, ["*"])

budgeted(found) if {
	some budget in budgets
	fits(budget, found)
}

# METADATA
# title: What counts against a budget
# description: A statement counts once against each budget that one of its inferences fits.
counts contains {"budget": budget.name, "limit": budget.per_hour, "seconds": 3600} if {
	policy.masking.inference.budgets
	some budget in budgets
	some found in told
	fits(budget, found)
}

# METADATA
# title: Budgets are looked up
# description: Asks how far budgets are used where a statement counts against any.
# custom: {id: MASK-COUNTED}
needs contains "budgets" if {
	not looked_up
	counts != set()
}

looked_up if input.context.budgets.present == true

used[name] := free_in if {
	some shown in input.context.budgets.used
	name := shown.name
	free_in := shown.free_in
}

# METADATA
# title: A budget is used up
# description: Denies a masked role a statement that a classified column decides, while its closure has had as many in the last hour as masking.yaml permits.
# custom: {id: MASK-BUDGET}
deny contains {"rule": "MASK-BUDGET", "reason": reason, "next": next} if {
	input.context.budgets.present == true
	some counted in counts
	free_in := object.get(used, counted.budget, null)
	not has_units(free_in, counted.limit)
	reason := sprintf("the budget %s is used up: in the last hour %s and those it acts with have had %d of %d statements that classified columns decide", [
		counted.budget,
		facts.subject_name,
		units(free_in),
		counted.limit,
	])
	next := when_free(free_in, counted.limit)
}

has_units(free_in, limit) if {
	is_array(free_in)
	count(free_in) < limit
}

default units(_) := -1

units(free_in) := count(free_in) if is_array(free_in)

default when_free(_, _) := "leave the column out of it, or ask a role that may see it"

# Seconds until each unit is free again, ascending: the one after which fewer are taken than the limit.
when_free(free_in, limit) := sprintf("the next is free at %s UTC, in %d s", [clock, wait]) if {
	wait := free_in[count(free_in) - limit]
	clock := time.format([input.context.time_ns + (wait * 1000000000), "UTC", "15:04:05"])
}
