"""Probes that need no derivative: what a model must do whatever it computes."""
