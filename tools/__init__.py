"""What builds, locks and generates: run by make, imported by nothing but tests."""
