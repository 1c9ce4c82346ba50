"""SQLAlchemy's own suite for dialects, as those outside its repository run it. Collected by test_sqlalchemy.py's
pytest, not by ours."""

from sqlalchemy.testing.suite import *  # noqa: F403 - the suite is imported whole: that is its interface
