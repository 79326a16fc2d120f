"""Submissions against a rubric, each run in a process of its own: points with reasons, and nothing given away."""
