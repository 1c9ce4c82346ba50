"""The decision itself: question, answer, record (docs/architecture.md, "A decision")."""
