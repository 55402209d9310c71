"""What every test shares: reproducible property tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a slow machine must not turn a right answer into a failure. No database: two runs try the same examples.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")
