"""Experiments as data: the reports, the runner that repeats them, verdicts and figures."""
