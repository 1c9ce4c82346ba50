"""AuthZEN Authorization API 1.0: the same questions for any application, over HTTP (ADR 31)."""
