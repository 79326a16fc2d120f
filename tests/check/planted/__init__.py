"""Backward passes as people write them, each right and with one planted error: what a gradient checker is judged by.
Written without a look at how the checker finds causes.
"""

from . import elementwise, linear, losses, models, networks, reductions, sequences, windows
from .case import CAUSES, SHAPES, Case, by_name, class_gradients, gradients

CASES = [
    case
    for theme in (linear, elementwise, reductions, losses, windows, networks, sequences, models)
    for case in theme.CASES
]

__all__ = ["CASES", "CAUSES", "SHAPES", "Case", "by_name", "class_gradients", "gradients"]
