package twokey.duties

import data.twokey.config
import data.twokey.config.policy
import data.twokey.facts

# The datasets of walls inside this connection that a statement enters: by the relations it touches, and by the labels
# of their columns. What a wall names as sanitised is in none.
entered contains {"wall": number, "dataset": name} if {
	some number in walls_here
	some name, _ in policy.duties.inner_walls[number].datasets
	some relation in input.operation.sql.relations
	holds(number, name, input.resource.id, relation_name(relation))
}

walls_here contains number if {
	policy.duties.inner_walls
	some number, wall in policy.duties.inner_walls
	input.question == "operation"
	fits(wall)
}

relation_name(relation) := concat(".", [relation.schema, relation.name])

holds(number, name, connection, relation) if {
	wall := policy.duties.inner_walls[number]
	not relation in object.get(wall, "sanitised", [])
	belongs(wall.datasets[name], connection, relation)
}

belongs(members, _, relation) if relation in members.relations

belongs(members, _, relation) if {
	some pattern in members.relations
	endswith(pattern, ".*")
	startswith(relation, trim_suffix(pattern, "*"))
}

# A classification puts names with dots in quotes, a history doesn't: both are read without, which finds rather more.
belongs(members, connection, relation) if {
	some label in members.labels
	some column, found in config.classification[connection]
	found == label
	startswith(replace(column, "\"", ""), concat("", [replace(relation, "\"", ""), "."]))
}

# Those that the closure has entered before, on any connection that the wall is in.
entered_before[number] contains name if {
	some number in walls_here
	some act in past
	act.act in {"read", "insert", "update", "delete", "truncate", "lock", "ddl"}
	wall := policy.duties.inner_walls[number]
	here(wall, "connections", act.connection)
	some name, _ in wall.datasets
	holds(number, name, act.connection, act.object)
}

# What it writes, other than the session's own temporary tables.
written contains relation_name(relation) if {
	some relation in input.operation.sql.relations
	not relation.temporary == true
	count({access | some access in relation.access; not access in {"read", "lock"}}) > 0
}

past_counts if {
	policy.duties.inner_walls
	entered != set()
}

past_counts if {
	policy.duties.inner_walls
	walls_here != set()
	written != set()
}

# METADATA
# title: Chinese wall inside a connection
# description: Denies a statement that enters a dataset of a connection to whoever's closure has entered another one of the same wall, and what can't be seen through where there is one.
# custom: {id: DUTY-WALL-INSIDE}
deny contains {"rule": "DUTY-WALL-INSIDE", "reason": fault.reason, "next": fault.next} if {
	policy.duties.inner_walls
	some fault in crossings
}

crossings contains {"reason": reason, "next": "let a principal do this who has not seen the other side"} if {
	some mine in entered
	some other in seen_of(mine.wall)
	other != mine.dataset
	reason := sprintf("%s, its owner or a delegator has been in %s, which conflicts with %s (%s)", [
		facts.subject_name,
		other,
		mine.dataset,
		policy.duties.inner_walls[mine.wall].name,
	])
}

crossings contains {"reason": reason, "next": "write it so that the relations it touches can be seen"} if {
	some number in walls_here
	not facts.described
	reason := sprintf("nobody can see which side of %s this statement is on", [policy.duties.inner_walls[number].name])
}

# Before, and by this very statement.
seen_of(number) := {name | some name in entered_before[number]} | {one.dataset | some one in entered; one.wall == number}

# METADATA
# title: Nothing is carried out of a dataset
# description: Denies writing to anything outside of a dataset of a connection to whoever's closure has entered it (Brewer-Nash, *-property).
# custom: {id: DUTY-WALL-CARRY}
deny contains {"rule": "DUTY-WALL-CARRY", "reason": reason, "next": next} if {
	policy.duties.inner_walls
	some number in walls_here
	some relation in written
	some name in seen_of(number)
	not belongs(policy.duties.inner_walls[number].datasets[name], input.resource.id, relation)
	reason := sprintf("%s, its owner or a delegator could carry what it saw in %s to %s", [facts.subject_name, name, relation])
	next := "write as a principal that has seen none of this dataset, or inside of it"
}
