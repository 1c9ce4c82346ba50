"""The append-only record: canonical encoding and segment files (docs/records.md)."""
