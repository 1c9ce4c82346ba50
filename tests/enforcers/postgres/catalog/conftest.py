"""The catalog's tests run on the describer's servers."""

from tests.enforcers.postgres.describe.conftest import server

__all__ = ["server"]
