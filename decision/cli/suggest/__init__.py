"""Proposing labels for a target's columns, for a person to commit. Never in the data path; values never leave here."""
