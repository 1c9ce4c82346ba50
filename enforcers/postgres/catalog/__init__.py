"""The live catalog of a target: what it asks, the immutable snapshot, and the source that keeps it fresh."""
