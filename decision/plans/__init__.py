"""Plans: proposed by a planner, reviewed once, carried out exactly (docs/plans.md, ADR 46)."""
