"""Maskers: what stands in place of one value, of the same type and in the same format (ADR 19)."""
