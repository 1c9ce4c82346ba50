"""How hypothesis searches: the same on every machine, and for longer with `make fuzz`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suite", deadline=None)  # a busy machine is no counterexample
settings.register_profile("fuzz", deadline=None, max_examples=5000)
settings.load_profile("suite")
